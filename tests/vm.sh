#!/bin/bash
# vm.sh JOBS TEST...: runs tests with virtual machines, JOBS at a time, and fails if one of them does.
#
# Each test is its own program with labs and a home of its own. Guests wait much of their time (for a boot, for a timeout), so that two tests
# use two cores better than one. A test's output goes to a file and is printed as a whole once it is over.
set -u
jobs=$1; shift
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
export logs

one() {
  local started=$SECONDS
  "${CARGO:-cargo}" test --locked --workspace --test "$1" -- --test-threads=1 --nocapture </dev/null >"$logs/$1" 2>&1
  local status=$?
  # One write for each test, so that two that end together do not mix.
  printf '%s\n' "=== $1: $([ $status = 0 ] && echo passed || echo FAILED) after $((SECONDS - started)) s" "$(grep -v '^ *Running\|^ *Finished' "$logs/$1")"
  [ $status = 0 ]
}
export -f one

printf '%s\n' "$@" | xargs -P "$jobs" -I NAME bash -c 'one NAME'
