#!/usr/bin/env bash
# The benchmarks that there are; further arguments go to them.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

scripts/peers.sh --quiet
if ! grep -qs '^\[\[bench\]\]' Cargo.toml ./*/Cargo.toml; then
  say "there are no benchmarks yet"
  exit 0
fi
cargo bench --workspace --locked --benches -- "$@"
