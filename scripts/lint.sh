#!/usr/bin/env bash
# Format, clippy, documentation, licences and sources, who may import what, the client's interface and its oldest Rust.
# Warnings are errors. With --renew-api it writes client/public-api.txt anew, and checks nothing.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

CARGO_DENY_VERSION=0.20.2
PUBLIC_API_LISTING_VERSION=0.1.0
OLDEST_RUST=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

need_packages
link_peers
cargo_peer cargo-deny "$CARGO_DENY_VERSION"
cargo_peer public-api-listing "$PUBLIC_API_LISTING_VERSION" scripts/public-api

failed=()

# Runs a check; the rest is checked too when it fails.
step() {
  say
  say "== $*"
  # in a subshell, so that `die` ends the check alone
  ("$@") || failed+=("$*")
}

# not_in TREE CRATE...: a crate that must not be among what another one is built from.
not_in() {
  local crate=$1 tree banned
  shift
  tree=$(cargo tree --locked -p "$crate" -e normal,build --prefix none --format '{p}')
  for banned in "$@"; do
    if grep -q "^$banned v" <<<"$tree"; then
      die "$crate must not depend on $banned; see: cargo tree -p $crate -i $banned"
    fi
  done
}

imports() {
  # src → actors → {client, supervisors}, which know nothing of each other
  not_in sozu-socket actix actix-rt actix-web supervisors actors testkit
  not_in supervisors sozu-command-lib sozu-socket actors testkit
  not_in actors sozu-manager testkit
  not_in sozu-manager testkit
}

# cargo-deny's database of advisories is a git repository on GitHub.
advisories() {
  if timeout 20 git ls-remote -q https://github.com/RustSec/advisory-db HEAD >/dev/null 2>&1; then
    .peers/bin/cargo-deny --locked check advisories
  elif [ -d "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs" ]; then
    say "the RustSec database cannot be reached; checked against the copy from last time"
    .peers/bin/cargo-deny --locked --offline check advisories
  else
    say "the RustSec database cannot be reached and there is no copy of it: advisories are not checked"
  fi
}

# Runs it with the Rust that Cargo.toml promises as the oldest.
oldest() { rustup run "$OLDEST_RUST" "$@"; }

# Brings that Rust, if it is missing.
need_oldest() {
  oldest rustc --version >/dev/null 2>&1 || timeout 300 rustup toolchain install "$OLDEST_RUST" --profile minimal
}

# What client/public-api.txt should be. rustdoc's JSON is unstable, so it is always written by the same Rust, which has
# to be told that it may; in a directory of its own, since that alone builds everything anew.
public_api() {
  local target="${CARGO_TARGET_DIR:-target}/public-api"
  RUSTC_BOOTSTRAP=1 oldest cargo rustdoc --quiet -p sozu-socket --lib --locked --target-dir "$target" -- \
    -Z unstable-options --output-format json &&
    .peers/bin/public-api-listing "$target/doc/sozu_socket.json"
}

# Whether the client's interface is what is listed, so that nobody changes it unseen.
interface() {
  local listing
  listing=$(public_api) || die "the client's interface cannot be listed"
  diff -u client/public-api.txt - <<<"$listing" ||
    die "client/public-api.txt does not list the client's interface as it is; renew it with: scripts/lint.sh --renew-api, and tell what changed in client/CHANGELOG.md"
}

if [ "${1:-}" = --renew-api ]; then
  need_oldest
  listing=$(public_api)
  printf '%s\n' "$listing" >client/public-api.txt
  exit
fi

step cargo fmt --all --check
step cargo clippy --workspace --locked --all-targets -- -D warnings
step cargo clippy --workspace --locked --features failpoints --test supervision_failpoints --test reload_failpoints --test killed -- -D warnings
# with private items: a module's page is a map of its rooms, and links to them
RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" step cargo doc --workspace --locked --no-deps --document-private-items
step .peers/bin/cargo-deny --locked check bans licenses sources
step cargo package -p sozu-socket --locked --no-verify --quiet --allow-dirty
step need_oldest
step interface
step oldest cargo check --quiet -p sozu-socket --lib --locked
step imports
step advisories
if command -v shellcheck >/dev/null; then
  step shellcheck -x scripts/*.sh .ci/run
fi
say
if [ "${#failed[@]}" != 0 ]; then
  printf 'FAILED: %s\n' "${failed[@]}" >&2
  exit 1
fi
say "lint: nothing to say"
