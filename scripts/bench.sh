#!/usr/bin/env bash
# All benchmarks; further arguments go to them. The one against the real Sōzu (docs/benchmarks.md) prints a table of what
# was measured, each figure against its goal. It takes some fifteen minutes: CLUSTERS=5000 makes it smaller, and
# ONLY=flood,bus,change,idle,restoration,memory measures some of it and nothing else. BENCH=pulsar is the one over a real
# broker alone, which CLUSTERS=5000 TIMES=50 SECONDS_STEADY=10 makes smaller; BENCH=client that of the client library,
# beside the published one, which ROUNDS=2 ROUND_SECONDS=1 makes smaller.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

scripts/peers.sh --quiet
[ -z "${ONLY:-}" ] || BENCH=${BENCH:-keeper}
case "${BENCH:-client}" in
  client)
    # the published client beside ours: in a workspace of its own, so that nothing of it is in ours
    target="${CARGO_TARGET_DIR:-target}/peers"
    cargo build --quiet --release --locked --manifest-path benches/peers/Cargo.toml --target-dir "$target"
    SOZU_CLIENT_PEER=$(realpath "$target/release/sozu-client")
    export SOZU_CLIENT_PEER
    ;;
esac
if [ -n "${BENCH:-}" ]; then
  cargo bench --locked --bench "$BENCH" -- "$@"
else
  cargo bench --workspace --locked --benches -- "$@"
fi
