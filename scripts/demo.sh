#!/usr/bin/env bash
# The quickstart, with a kill in the middle: a real data set through a keyed event-time window,
# kill -9 half-way, resume, and a comparison with a run that was never killed. Needs cargo, a C
# compiler, and npm, which fetches the data; what it writes lies in a temporary folder, which it
# removes.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
source "$root/scripts/install.sh"
if [ -t 1 ]; then bold=$'\033[1m' plain=$'\033[0m'; else bold='' plain=''; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

need_toolchain
need_demo
say "Fetching the data set (bird strikes on aircraft in the US, 10,000 of them)"
data=$("$root/scripts/fetch-data.sh")
say "Building"
cargo build --locked --manifest-path "$root/Cargo.toml" --package millstream-worker
worker=${CARGO_TARGET_DIR:-$root/target}/debug/millstream-worker

work=$(mktemp -d)
trap 'kill -9 "${job:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
ln -s "$data" data
cp "$root/examples/quickstart/job.yaml" .

say "What the job does: millstream-worker describe job.yaml"
"$worker" describe job.yaml --threads 2

say "A run that is never killed, as fast as it goes, for comparison"
"$worker" run job.yaml --set spec.program.args.output=undisturbed \
  --set spec.program.args.recordsPerSecond=1e9 --set spec.snapshots.store=file://undisturbed-snapshots >/dev/null

say "The job, at 1,000 strikes per second: months that cost a state more than a million dollars"
"$worker" run job.yaml &
job=$!
# Half of the input is about five seconds; the job is killed when it has snapshots, whatever the
# machine's speed.
for _ in $(seq 600); do
  # The log holds the claim and an entry for each snapshot.
  [ "$(ls snapshots/default/bird-strikes/log 2>/dev/null | wc -l)" -ge 6 ] && break
  kill -0 "$job" 2>/dev/null || { echo "the job ended before it could be killed" >&2; exit 1; }
  sleep 0.1
done
say "kill -9"
{ kill -9 "$job" && wait "$job"; } 2>/dev/null || true
visible=$(cat out/*.ndjson | wc -l)
echo "$visible results were visible at that moment"

say "The same command again"
"$worker" run job.yaml

say "Comparing"
sort undisturbed/*.ndjson >expected
sort out/*.ndjson >actual
cmp expected actual
all=$(wc -l <actual)
[ "$visible" -lt "$all" ] || { echo "the job was not killed half-way" >&2; exit 1; }
echo "The $all results equal those of the run that was never killed, each there once."
