#!/usr/bin/env bash
# A router in a control group with a memory limit, besieged by pairs whose readers stand still, beside pairs that move.
# Needs Linux, root, and a built release binary:
#
#   cargo build --release && benches/memory-limit.sh [PAIRS] [MESSAGE BYTES] [SECONDS] [LIMIT MiB]
#
# Says how much memory the group ever held, and what happened to both kinds of pairs. Exit code 1 if the kernel ended the
# router, a moving pair saw an error, or no pair ever stood still, as on a machine too busy to set them up.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pairs=${1:-5000} size=${2:-32768} seconds=${3:-20} limit=${4:-512}
router=${ROUTER_BIN:-target/release/jumpstarter-router}
address=127.0.0.1:18090
export ROUTER_KEY=a-key-for-this-measurement-only!

if [[ -f /sys/fs/cgroup/cgroup.controllers ]]; then
    group=/sys/fs/cgroup/jumpstarter-router-measurement
    limit_file=memory.max peak_file=memory.peak
else
    group=/sys/fs/cgroup/memory/jumpstarter-router-measurement
    limit_file=memory.limit_in_bytes peak_file=memory.max_usage_in_bytes
fi
out=$(mktemp -d)
router_pid=
finish() {
    [[ -n $router_pid ]] && kill "$router_pid" 2>/dev/null && wait "$router_pid" 2>/dev/null || true
    rmdir "$group" 2>/dev/null || true
    rm -rf "$out"
}
trap finish EXIT

mkdir -p "$group"
echo $((limit << 20)) >"$group/$limit_file"
# The router finds the limit of its group by itself.
bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' _ "$group" \
    "$router" --listen "$address" --health-address 0 --set listen.admin_address=0 2>"$out/router.log" &
router_pid=$!
for _ in $(seq 100); do
    grep -q '"serving"' "$out/router.log" && break
    sleep 0.1
done

load() {
    "$router" load --router "$address" --insecure --quiet --json "$out/$1.json" "${@:2}"
}
failed=0
load pingpong --workload pingpong --pairs 4 --duration $((seconds + 4))s --deadline 300s & pingpong=$!
load bulk --workload bulk --pairs 2 --duration $((seconds + 4))s --deadline 300s & bulk=$!
sleep 1
load siege --workload stall --persist --pairs "$pairs" --size "$size" --duration "${seconds}s" --deadline 300s ||
    failed=1
wait "$pingpong" || failed=1
wait "$bulk" || failed=1
kill -0 "$router_pid" 2>/dev/null || { echo "the router was ended"; failed=1; }

python3 - "$out" "$pairs" "$size" "$limit" "$(cat "$group/$peak_file")" <<'END'
import json, sys
out, pairs, size, limit, peak = sys.argv[1:]
report = {name: json.load(open(f"{out}/{name}.json")) for name in ("siege", "pingpong", "bulk")}
print(f"{pairs} pairs that stand still, messages of {size} B, limit {limit} MiB")
print(f"  most memory in the group   {int(peak) / 2**20:.0f} MiB")
for name, value in sorted(report["siege"]["extra"].items()):
    print(f"  {name.replace('_', ' '):<26} {value:.0f}")
latency = report["pingpong"]["latency"]
print(f"  ping-pong beside it        p50 {latency['p50_us']:.0f} us, p99 {latency['p99_us'] / 1000:.1f} ms,"
      f" max {latency['max_us'] / 1000:.0f} ms, errors {report['pingpong']['errors'] or 'none'}")
print(f"  bulk beside it             {report['bulk']['mb_per_second']:.0f} MB/s, errors {report['bulk']['errors'] or 'none'}")
if not report["siege"]["extra"]["pairs_standing_at_most"]:
    sys.exit("no siege: no pair ever stood still")
END
exit "$failed"
