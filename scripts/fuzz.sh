#!/usr/bin/env bash
# Each fuzz target for a minute, or for SECONDS_EACH. New inputs stay in fuzz/target; what is worth keeping is copied to
# fuzz/corpus by hand, where `make test` replays it.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

CARGO_FUZZ_VERSION=0.13.2

need_packages
link_peers
cargo_peer cargo-fuzz "$CARGO_FUZZ_VERSION"
if ! rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
  die "libFuzzer asks for nightly Rust; install it with: rustup toolchain install nightly --profile minimal"
fi

PATH="$PWD/.peers/bin:$PATH"
for target in fuzz/fuzz_targets/*.rs; do
  target=$(basename "$target" .rs)
  say "== $target, ${SECONDS_EACH:-60} s"
  mkdir -p "fuzz/target/corpus/$target"
  cargo +nightly fuzz run "$target" "fuzz/target/corpus/$target" "fuzz/corpus/$target" -- \
    "-max_total_time=${SECONDS_EACH:-60}" -rss_limit_mb=1024 -print_final_stats=1
done
