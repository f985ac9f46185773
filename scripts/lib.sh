# What the other scripts share; sourced, never run.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }
die() {
  warn "$*"
  exit 1
}

# Seconds as minutes and seconds.
minutes() { printf '%d min %02d s' $(($1 / 60)) $(($1 % 60)); }

# What cargo needs to find beside it: a C compiler (SQLite, ring) and protoc (sozu-command-lib).
missing_packages() {
  local missing=()
  command -v cc >/dev/null || missing+=(build-essential)
  command -v protoc >/dev/null || missing+=(protobuf-compiler)
  command -v setpriv >/dev/null || missing+=(util-linux)
  command -v flock >/dev/null || missing+=(util-linux)
  printf '%s\n' "${missing[@]}" | sort -u | paste -sd' ' -
}

# Installs what is missing as root; otherwise says the one line that does, and fails.
need_packages() {
  local missing
  missing=$(missing_packages)
  if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
      die "missing Debian packages; install them with: sudo apt-get update && sudo apt-get install -y --no-install-recommends $missing"
    fi
    say "installing Debian packages: $missing"
    # another run of ours may be installing too
    (
      exec 9>/run/lock/sozu-manager-apt.lock
      flock 9
      missing=$(missing_packages)
      [ -z "$missing" ] && exit 0
      export DEBIAN_FRONTEND=noninteractive
      apt-get -q update
      # shellcheck disable=SC2086
      apt-get -qy -o DPkg::Lock::Timeout=300 install --no-install-recommends $missing
    )
  fi
  if ! command -v cargo >/dev/null; then
    if [ -x "$HOME/.cargo/bin/cargo" ]; then
      export PATH="$HOME/.cargo/bin:$PATH"
    else
      die "cargo is missing; install Rust with rustup: https://rustup.rs"
    fi
  fi
}

# The cache of the peers; `.peers` links to it.
peers_cache() { printf '%s\n' "${SOZU_MANAGER_PEERS:-${HOME:?}/.cache/sozu-manager-peers}"; }

# Makes the cache and its link.
link_peers() {
  local cache
  cache=$(peers_cache)
  mkdir -p "$cache/bin"
  cache=$(cd "$cache" && pwd)
  if [ -e .peers ] && [ ! -L .peers ]; then
    die ".peers is not a link; move it away: it should link to $cache"
  fi
  # by rename: another run may be using the link
  if [ "$(readlink .peers || true)" != "$cache" ]; then
    ln -s "$cache" ".peers.$$"
    mv -fT ".peers.$$" .peers
  fi
}

# in_cache NAME PROGRAM: puts bin/PROGRAM in the cache in place as a link to NAME/bin/PROGRAM.
link_program() {
  ln -sfn "../$1/bin/$2" ".peers/bin/.$2.$$"
  mv -fT ".peers/bin/.$2.$$" ".peers/bin/$2"
}

# cargo_peer CRATE VERSION [DIRECTORY]: `cargo install` into the cache, once for all clones and all runs at once; from
# crates.io, or from a directory of this clone.
cargo_peer() {
  local crate=$1 version=$2 name="$1-$2" start=$SECONDS source=("$1@$2")
  [ -z "${3:-}" ] || source=(--path "$3")
  if [ ! -x ".peers/$name/bin/$crate" ]; then
    (
      exec 9>".peers/.$name.lock"
      flock 9
      [ -x ".peers/$name/bin/$crate" ] && exit 0
      say "building $crate $version (once; it stays in $(peers_cache))"
      # a directory of its own and no lock file of ours: the build is the same from every clone
      target=$(mktemp -d)
      trap 'rm -rf "$target"' EXIT
      CARGO_TARGET_DIR="$target" cargo install --quiet --locked --root ".peers/$name" "${source[@]}"
    )
    say "$crate $version is there after $(minutes $((SECONDS - start)))"
  fi
  link_program "$name" "$crate"
}
