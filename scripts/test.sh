#!/usr/bin/env bash
# Every test suite, one after the other; at the end cargo test's own closing lines and the minutes of each suite.
# --long: with more repetitions (SOZU_MANAGER_LONG=1). A peer that cannot be had skips what needs it, which is an error in CI.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/suites.sh
. scripts/suites.sh

if [ "${1:-}" = --long ]; then
  export SOZU_MANAGER_LONG=1
fi
scripts/peers.sh --quiet

closing=$(mktemp)
output=$(mktemp)
trap 'rm -f "$closing" "$output"' EXIT
failed=() skipped=()

start=$SECONDS
say "building the tests (about 3 minutes the first time on two cores)"
cargo test --workspace --locked --no-run
say "built in $(minutes $((SECONDS - start)))"

# cargo test's own closing lines, each behind the crate or suite that it is about; those of nothing are left out.
closing_lines() {
  awk '
    /^ +Running / { name = $NF; sub(/.*\//, "", name); sub(/-[0-9a-f]+\)$/, "", name) }
    /^ +Doc-tests / { name = $NF }
    /^test result: / && !/ 0 passed; 0 failed; 0 ignored/ { printf "    %-18s %s\n", name, $0 }
  ' "$1"
}

run() {
  local suite=$1 peer arguments begin=$SECONDS status=0
  for peer in $(suite_needs "$suite"); do
    if [ ! -x ".peers/bin/$peer" ]; then
      skipped+=("$suite: skipped, there is no .peers/bin/$peer (make peers)")
      return
    fi
  done
  read -ra arguments <<<"$(suite_command "$suite")"
  say
  say "== $suite"
  cargo test --locked --no-fail-fast "${arguments[@]}" 2>&1 | tee "$output" || status=1
  {
    printf '%-24s %s\n' "$suite" "$(minutes $((SECONDS - begin)))"
    closing_lines "$output"
  } >>"$closing"
  if [ "$status" != 0 ]; then
    failed+=("$suite")
  fi
}

for suite in $(suites); do
  run "$suite"
done

say
say "== all suites, in $(minutes $((SECONDS - start)))"
cat "$closing"
for line in "${skipped[@]}"; do
  say "$line"
done
if [ "${#failed[@]}" != 0 ]; then
  die "FAILED: ${failed[*]}"
fi
if [ "${#skipped[@]}" != 0 ] && [ -n "${CI:-}" ]; then
  die "FAILED: in CI nothing may be skipped"
fi
say "every suite passed"
