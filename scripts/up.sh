# shellcheck shell=bash
# Sourced by the scripts that talk to a running `cloudsync up`: a working directory, and its start and
# end. Sets `work`, `up` (its process) and `gateway` (its address).
work=$(mktemp -d)
up=
trap 'if [[ -n $up ]]; then kill "$up" 2>/dev/null || true; wait "$up" 2>/dev/null || true; fi; rm -rf "$work"' EXIT

fail() { echo "${0##*/}: $*" >&2; [[ -f $work/up.log ]] && tail -20 "$work/up.log" >&2; exit 1; }

# start_up PROGRAM: returns when it is ready.
start_up() {
  "$1" up --data-dir "$work/data" --listen 127.0.0.1:0 --log-listen 127.0.0.1:0 \
    --admin-listen 127.0.0.1:0 >/dev/null 2>"$work/up.log" &
  up=$!
  for _ in $(seq 600); do
    grep -q '^Ready' "$work/up.log" && break
    kill -0 "$up" 2>/dev/null || fail 'up ended by itself'
    sleep 0.1
  done
  gateway=$(sed -n 's#.*http://\(127\.0\.0\.1:[0-9]*\)/api/datasync.*#\1#p' "$work/up.log" | head -1)
  [[ -n $gateway ]] || fail 'no gateway address printed'
}
