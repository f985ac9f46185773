#!/usr/bin/env bash
# flaky.sh SUITE [TIMES]: one suite again and again, to find a test that passes only sometimes.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/suites.sh
. scripts/suites.sh

suite=${1:-}
times=${2:-10}
[ -n "$suite" ] || die "which suite? make flaky SUITE=name; there are: $(suites | paste -sd' ' -), and each crate's name"
scripts/peers.sh --quiet
arguments_line=$(suite_command "$suite")
read -ra arguments <<<"$arguments_line"

output=$(mktemp)
trap 'rm -f "$output"' EXIT
failures=0
for turn in $(seq "$times"); do
  begin=$SECONDS
  if cargo test --locked --quiet "${arguments[@]}" >"$output" 2>&1; then
    say "$suite $turn of $times: passed in $(minutes $((SECONDS - begin)))"
  else
    failures=$((failures + 1))
    cat "$output"
    say "$suite $turn of $times: FAILED in $(minutes $((SECONDS - begin)))"
  fi
done
[ "$failures" = 0 ] || die "$suite failed $failures of $times times"
