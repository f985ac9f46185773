#!/usr/bin/env bash
# The whole thing, live: a real Sōzu, two backends and the daemon. ONCE=1 proves it, stops everything and exits 0.
# SOURCE=pulsar: its routes come over a topic of a real Pulsar broker, to which `sozu-manager publish` sends them.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

case "${SOURCE:-}" in
  "" | pulsar) ;;
  *) die "there is no SOURCE=$SOURCE; leave it out, or write SOURCE=pulsar" ;;
esac

packages=$(missing_packages)
plan=()
[ -n "$packages" ] && plan+=("Debian packages (as root): $packages")
[ -x "$(peers_cache)/bin/sozu" ] || plan+=("Sōzu, built from crates.io into $(peers_cache): about 5 minutes, once")
[ -x "${CARGO_TARGET_DIR:-target}/debug/sozu-manager" ] ||
  plan+=("sozu-manager, debug builds into ${CARGO_TARGET_DIR:-target}: about 4 minutes, once")
if [ "${#plan[@]}" != 0 ]; then
  say "This needs, on two cores:"
  printf '  - %s\n' "${plan[@]}"
fi

need_packages
link_peers
scripts/peers.sh --quiet
if [ "${SOURCE:-}" = pulsar ] && [ ! -x .peers/bin/pulsar ]; then
  die "there is no .peers/bin/pulsar: 'make peers' brings it, and says what it needs"
fi
start=$SECONDS
# where they are started from is not here
binaries=$(realpath -m "${CARGO_TARGET_DIR:-target}")/debug
# debug builds: they take half as long, and what is shown does not depend on it; first the one that fails on demand, for one
# step, which differs in three crates
cargo build --quiet --workspace --locked --features failpoints --bin sozu-manager
cp -f "$binaries/sozu-manager" "$binaries/sozu-manager-failpoints"
cargo build --quiet --workspace --locked --bins
[ $((SECONDS - start)) -lt 10 ] || say "built in $(minutes $((SECONDS - start)))"

arguments=("$binaries/sozu-manager" "$binaries/sozu-manager-failpoints")
[ "${SOURCE:-}" = pulsar ] && arguments+=(--pulsar)
[ -n "${ONCE:-}" ] && arguments+=(--once)
exec "$binaries/demo" "${arguments[@]}"
