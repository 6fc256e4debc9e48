#!/usr/bin/env bash
# A router in a control group with a memory limit, besieged in one of many ways, beside pairs that move and a new pair each
# second. Needs Linux, root, and two binaries:
#
#   cargo build --profile dist && cargo build --profile dist --example siege
#   benches/siege.sh LIMIT_MIB SECONDS ATTACK... [other options of the example `siege`]
#
# The attacks: target/dist/examples/siege --help. Says what happened, on one line in the end. Exit code 1 if the kernel
# ended the router, a moving pair saw an error, fewer than 90 % of the newcomers got in once the siege was 15 s old, or the
# group held more than 90 % of its limit.
#
# From the environment: ROUTER_BIN, SIEGE_BIN, PEER_BIN (whose `load` moves the pairs), ROUTER_OPTIONS (more of the
# router's own), PORT (this one and the two after it), KEEP (a directory for log, samples and figures).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

limit=${1:?the limit in MiB} seconds=${2:?how long in seconds}
shift 2
router=${ROUTER_BIN:-target/dist/jumpstarter-router}
siege=${SIEGE_BIN:-target/dist/examples/siege}
peer=${PEER_BIN:-$router}
port=${PORT:-18090}
address=127.0.0.1:$port metrics=127.0.0.1:$((port + 1))
export ROUTER_KEY=a-key-for-this-measurement-only!
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"

name=jumpstarter-router-siege-$port
if [[ -f /sys/fs/cgroup/cgroup.controllers ]]; then
    group=/sys/fs/cgroup/$name limit_file=memory.max
else
    group=/sys/fs/cgroup/memory/$name limit_file=memory.limit_in_bytes
fi
out=${KEEP:-$(mktemp -d)}
mkdir -p "$out"
rm -f "$out"/{router.log,pingpong.*,bulk.*,siege.json}
router_pid=
finish() {
    [[ -n $router_pid ]] && kill "$router_pid" 2>/dev/null && wait "$router_pid" 2>/dev/null || true
    for _ in $(seq 50); do
        rmdir "$group" 2>/dev/null && break
        sleep 0.1
    done
    [[ -n ${KEEP:-} ]] || rm -rf "$out"
}
trap finish EXIT

mkdir "$group"
echo $((limit << 20)) >"$group/$limit_file"
# Version 1 of control groups counts sockets only if they have a limit, and apart from the rest.
[[ -f $group/memory.kmem.tcp.limit_in_bytes ]] && echo $((1 << 40)) >"$group/memory.kmem.tcp.limit_in_bytes"
# The router finds the limit of its group by itself. Its log goes through a pipe: the pages of a file would be charged to
# the group that writes it.
# shellcheck disable=SC2086
bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' _ "$group" \
    "$router" --listen "$address" --health-address 0 --set listen.admin_address=0 \
    --set "listen.metrics_address=$metrics" ${ROUTER_OPTIONS:-} 2> >(cat >"$out/router.log") &
router_pid=$!
for _ in $(seq 100); do
    grep -qs '"serving"' "$out/router.log" && break
    sleep 0.1
done

load() {
    "$peer" load --router "$address" --insecure --quiet --json "$out/$1.json" "${@:2}" >"$out/$1.txt" 2>&1
}
load pingpong --workload pingpong --pairs 4 --duration $((seconds + 4))s --deadline 300s & pingpong=$!
load bulk --workload bulk --pairs 2 --duration $((seconds + 4))s --deadline 300s & bulk=$!
sleep 1
failed=0
"$siege" --router "$address" --pid "$router_pid" --group "$group" --metrics "$metrics" --duration "${seconds}s" \
    --samples "$out/samples.csv" --json "$out/siege.json" "$@" || failed=1
wait "$pingpong" || failed=1
wait "$bulk" || failed=1
kill -0 "$router_pid" 2>/dev/null || { echo "the router is gone"; failed=1; }

python3 - "$out" "$limit" <<'END'
import json, sys
out, limit = sys.argv[1:]
def figures(name):
    """None if the program did not come so far."""
    try:
        return json.load(open(f"{out}/{name}.json"))
    except (OSError, ValueError):
        return None
siege, pingpong, bulk = (figures(name) for name in ("siege", "pingpong", "bulk"))
if not siege:
    sys.exit("no siege")
errors = sum(sum(run["errors"].values()) if run else 1 for run in (pingpong, bulk))
for run in (pingpong, bulk):
    for why, times in (run or {}).get("errors", {}).items():
        print(f"  moving: {times} x {why}")
latency = (pingpong or {}).get("latency") or {"p50_us": 0, "p99_us": 0, "max_us": 0}
late, peak = siege["late"], siege["peak"]
print(f"{siege['attack']}, {limit} MiB: peak {peak / 2**20:.0f} MiB = {peak * 100 / siege['limit']:.0f} %, kernel's kills"
      f" {siege['killed']}, moving pairs' errors {errors}, newcomers {late['got_in']}/{late['came']},"
      f" ping-pong p50 {latency['p50_us']:.0f} us p99 {latency['p99_us'] / 1000:.1f} ms max {latency['max_us'] / 1000:.0f} ms,"
      f" bulk {(bulk or {}).get('mb_per_second', 0):.0f} MB/s, CPU {siege['cpu_seconds']:.1f} s")
END
exit "$failed"
