#!/usr/bin/env bash
# The commands of the README against a running `cloudsync up`, with real clients: grpcurl, curl,
# zstdcat. Run by ./test; needs target/release/cloudsync (or CARGO_TARGET_DIR's).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
program=$(realpath "${CARGO_TARGET_DIR:-target}")/release/cloudsync
. scripts/up.sh
for needed in curl zstdcat grpcurl python3; do
  command -v "$needed" >/dev/null || { echo "real-clients: $needed is missing (Debian: apt install curl zstd python3)" >&2; exit 77; }
done

echo '--- cloudsync demo'
"$program" demo --output json >"$work/demo.json" 2>"$work/demo.log" || fail "demo failed: $(cat "$work/demo.log")"
python3 - "$work/demo.json" <<'PY'
import json, sys
ledger = json.load(open(sys.argv[1]))
assert ledger["sent"] == ledger["acked"] == ledger["in_log"] == 1707, ledger
for destination in ledger["destinations"]:
    assert destination["delivered"] == 1707, destination
    assert not any(destination[bad] for bad in ("lost", "doubled", "altered")), destination
PY

echo '--- cloudsync up'
start_up "$program"

echo '--- curl: one JSON string'
answer=$(curl -sS -d '"Test message for dual-cloud sync"' "http://$gateway/api/datasync")
[[ $answer == 'Data message queued for synchronization.' ]] || fail "curl said: $answer"

echo '--- curl: lines, with their verdicts as they come; a packed list'
printf '%s\n' '{"id":"l-1","n":1}' '{"id":' '{"id":"l-2","n":2}' |
  curl -sS --data-binary @- -H 'Content-Type: application/x-ndjson' \
    -H 'Accept: application/x-ndjson' "http://$gateway/api/datasync?id-pointer=/id" >"$work/verdicts"
[[ $(wc -l <"$work/verdicts") == 4 ]] || fail "verdicts: $(cat "$work/verdicts")"
grep -q '"line":2,"problem":{"status":400,"reason":"INVALID_JSON"' "$work/verdicts" || fail "verdicts: $(cat "$work/verdicts")"
tail -1 "$work/verdicts" | grep -q '"accepted":2,"refused":1' || fail "verdicts: $(cat "$work/verdicts")"
answer=$(echo '[{"id":"z-1"},{"id":"z-2"}]' | gzip | curl -sS --data-binary @- \
  -H 'Content-Encoding: gzip' "http://$gateway/api/datasync?id-pointer=/id")
[[ $answer == *'"accepted":2,"refused":0'* ]] || fail "curl said: $answer"

echo '--- curl: metrics, the document'
curl -sS "http://$gateway/metrics" | grep -qx 'cloudsync_gateway_records_accepted_total 5' || fail 'metrics'
curl -sS "http://$gateway/openapi.json" | python3 -c 'import json, sys; json.load(sys.stdin)["paths"]' || fail 'openapi.json'

echo '--- grpcurl: several records, reflection'
grpcurl -plaintext "$gateway" list | grep -qx cloudsync.v1.DataSyncService || fail 'not listed'
printf '%s' '{"record":{"requestId":"g-1","key":"k","payload":"eyJuIjoxfQ=="}}' \
  '{"record":{"requestId":"g-2","key":"k","payload":"eyJuIjoyfQ=="}}' \
  '{"record":{"requestId":"g-3","key":"k","payload":"cGxhaW4gdGV4dA=="}}' |
  grpcurl -plaintext -d @ "$gateway" cloudsync.v1.DataSyncService/SyncData >"$work/summary.json"
grep -q '"acceptedCount": "3"' "$work/summary.json" || fail "summary: $(cat "$work/summary.json")"
if grpcurl -plaintext -d '{"record":{"tenant":"me"}}' "$gateway" \
  cloudsync.v1.DataSyncService/SyncRecord 2>"$work/refused"; then fail 'a forged tenant was taken'; fi
grep -q GATEWAY_OWNED_FIELD "$work/refused" || fail "refusal: $(cat "$work/refused")"

echo '--- cloudsync send'
echo '{"id":"s-1","text":"hello"}' |
  "$program" send - --id-pointer /id --endpoint "http://$gateway" 2>"$work/send.log" ||
  fail "send: $(cat "$work/send.log")"

echo '--- zstdcat: all of it lies in both destinations'
for destination in aws azure; do
  for _ in $(seq 100); do
    find "$work/data/$destination" -name '*.ndjson.zst' -exec zstdcat {} + >"$work/lines" || true
    [[ $(wc -l <"$work/lines") == 9 ]] && break
    sleep 0.1
  done
  for wanted in '"payload":"Test message for dual-cloud sync"' '"id":"g-1"' '"payload":{"n":2}' \
    '"text":"plain text"' '"id":"s-1"' '"id":"l-2"' '"id":"z-1"'; do
    grep -qF -- "$wanted" "$work/lines" || fail "$destination lacks $wanted: $(cat "$work/lines")"
  done
done

echo '--- Ctrl-C ends it'
kill -INT "$up"
wait "$up" || fail "up ended with $?"
up=
echo 'real clients: all as the README says'
