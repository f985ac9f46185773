#!/usr/bin/env bash
# All benchmarks; further arguments go to them. The one against the real Sōzu (docs/benchmarks.md) prints a table of what
# was measured, each figure against its goal. It takes some fifteen minutes: CLUSTERS=5000 makes it smaller, and
# ONLY=flood,bus,change,idle,restoration,memory measures some of it and nothing else. BENCH=pulsar is the one over a real
# broker alone, which CLUSTERS=5000 TIMES=50 SECONDS_STEADY=10 makes smaller.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

scripts/peers.sh --quiet
if [ -n "${BENCH:-}${ONLY:-}" ]; then
  cargo bench --locked --bench "${BENCH:-keeper}" -- "$@"
else
  cargo bench --workspace --locked --benches -- "$@"
fi
