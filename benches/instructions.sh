#!/usr/bin/env bash
# Counts the instructions of small operations with callgrind: the same on a busy machine as on an idle one.
#
#   benches/instructions.sh [--out FILE] [--compare FILE]
#
# --out:     where to write the counts as JSON; target/instructions.json by default.
# --compare: a file written before. Exits with 1 if a count grew by more than 5 % and more than one instruction.
set -euo pipefail
cd "$(dirname "$0")/.."

out=target/instructions.json
baseline=
while [ $# -gt 0 ]; do
    case $1 in
    --out) out=${2:?--out needs a file} && shift 2 ;;
    --compare) baseline=${2:?--compare needs a file} && shift 2 ;;
    *) sed -n 's/^#   //p' "$0" >&2 && exit 2 ;;
    esac
done
[ -z "$baseline" ] || [ -r "$baseline" ] || { echo "cannot read $baseline" >&2 && exit 2; }
command -v valgrind >/dev/null || { echo "valgrind is not installed" >&2 && exit 2; }

cargo build --quiet --profile dist --example counted
program=${CARGO_TARGET_DIR:-target}/dist/examples/counted
compiler=$(rustc --version)

# Instructions of the whole program that does the operation so many times.
count() {
    local log
    log=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1) || {
        echo "$log" >&2
        return 1
    }
    sed -n 's/^==[0-9]*== Collected : //p' <<<"$log"
}

# One case a line, so that the comparison needs no JSON parser.
recorded() { sed -n "s/^ *\"$1\": \([0-9.]*\),\{0,1\}$/\1/p" "$baseline"; }

if [ -n "$baseline" ]; then
    before=$(sed -n 's/^ *"compiler": "\(.*\)",$/\1/p' "$baseline")
    [ "$before" = "$compiler" ] || echo "note: $baseline was made with $before, this is $compiler"
fi

printf '%-24s %14s %s\n' case instructions "${baseline:+compared}"
lines=()
grown=0
for name in $("$program"); do
    # Half of the operations are taken off, so that what happens once, at the start, does not count.
    times=20480
    [ "$name" != token_check ] || times=2048
    all=$(count "$name" "$times")
    half=$(count "$name" $((times / 2)))
    each=$(awk -v a="$all" -v h="$half" -v n="$times" 'BEGIN { printf "%.1f", (a - h) / (n / 2) }')
    lines+=("    \"$name\": $each")
    verdict=
    if [ -n "$baseline" ]; then
        old=$(recorded "$name")
        if [ -z "$old" ]; then
            verdict=new
        else
            verdict=$(awk -v e="$each" -v o="$old" 'BEGIN {
                printf "%+.1f %%%s", (o > 0) ? 100 * (e - o) / o : 0, (e > 1.05 * o && e > o + 1) ? " GREW" : "" }')
        fi
        [[ $verdict != *GREW ]] || grown=1
    fi
    printf '%-24s %14s %s\n' "$name" "$each" "$verdict"
done

mkdir -p "$(dirname "$out")"
{
    printf '{\n  "compiler": "%s",\n  "architecture": "%s",\n  "instructions": {\n' "$compiler" "$(uname -m)"
    printf '%s\n' "${lines[@]}" | sed '$!s/$/,/'
    printf '  }\n}\n'
} >"$out"
exit $grown
