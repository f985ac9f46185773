# The test suites and how each is run; sourced, never run.
# shellcheck shell=bash

# Every suite's name, in the order in which they run. All of them build the same dependencies with the same features,
# which is why each names the whole workspace.
suites() {
  say units
  say docs
  suite_files '*' | sed 's|.*/tests/\([^/]*\).*|\1|; s|\.rs$||' | sort -u
}

# suite_command NAME: the arguments of `cargo test`. A crate's name stands for its unit tests.
suite_command() {
  case "$1" in
    # the model of the keeper plays ten times as many histories when it is optimised
    units) say "--workspace --lib --bins${SOZU_MANAGER_LONG:+ --release}" ;;
    docs) say "--workspace --doc" ;;
    *)
      if [ -n "$(suite_files "$1")" ]; then
        say "--workspace$(suite_features "$1") --test $1"
      elif grep -qs "^name = \"$1\"$" Cargo.toml ./*/Cargo.toml; then
        say "-p $1 --lib --bins"
      else
        die "there is no suite '$1'; there are: $(suites | paste -sd' ' -), and each crate's name for its unit tests"
      fi
      ;;
  esac
}

# suite_features NAME: what Cargo.toml says that it requires. Only what depends on the feature is built again for
# it: about a minute.
suite_features() {
  local features
  features=$(sed -n "/^name = \"$1\"$/{n;s/^required-features = \[\"\(.*\)\"\]$/\1/p}" Cargo.toml)
  [ -z "$features" ] || printf ' --features %s' "$features"
}

# suite_files NAME: where cargo looks for integration tests of that name: a file or a directory with a main.rs.
suite_files() {
  local file
  # shellcheck disable=SC2231
  for file in ./tests/$1.rs ./*/tests/$1.rs ./tests/$1/main.rs ./*/tests/$1/main.rs; do
    [ ! -f "$file" ] || say "$file"
  done
}

# suite_needs NAME: the peers whose names its source speaks.
suite_needs() {
  local files
  files=$(suite_files "$1" | sed 's|/main\.rs$||')
  [ -n "$files" ] || return 0
  # shellcheck disable=SC2086
  grep -rqw 'Sozu' $files && say sozu
  # shellcheck disable=SC2086
  grep -rqw 'promtool' $files && say promtool
  # shellcheck disable=SC2086
  grep -rqw 'peer("prometheus")' $files && say prometheus
  # shellcheck disable=SC2086
  grep -rqw 'openmetrics_reader' $files && say openmetrics-reader
  # shellcheck disable=SC2086
  grep -rqw 'mod pulsar' $files && say pulsar
  # shellcheck disable=SC2086
  grep -rqw 'pulsar-python' $files && say pulsar-python
  return 0
}
