#!/usr/bin/env bash
# GET /openapi.json against what is served: schemathesis sends to a running `cloudsync up` what the
# document allows and what it does not, and holds every answer to it: no 5xx, no status, media type
# or header that stands nowhere, no body of another form. Run by ./test; needs target/debug/cloudsync
# (or CARGO_TARGET_DIR's), curl, and Python 3 with venv. Installs schemathesis once into
# ${XDG_CACHE_HOME:-~/.cache}/cloudsync.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=4.32.5
seconds=90
program=$(realpath "${CARGO_TARGET_DIR:-target}")/debug/cloudsync
venv=${XDG_CACHE_HOME:-$HOME/.cache}/cloudsync/schemathesis-$version
. scripts/up.sh

if [[ ! -x $venv/bin/schemathesis ]]; then
  command -v python3 >/dev/null || { echo 'schemathesis: python3 is missing (Debian: apt install python3 python3-venv)' >&2; exit 77; }
  python3 -c 'import ensurepip, venv' 2>/dev/null || { echo 'schemathesis: venv is missing (Debian: apt install python3-venv)' >&2; exit 77; }
  echo "installing schemathesis $version into $venv (once)"
  rm -rf "$venv" && python3 -m venv "$venv" &&
    "$venv/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version" ||
    { rm -rf "$venv"; echo "schemathesis: cannot be installed: pip install schemathesis==$version failed" >&2; exit 77; }
fi

start_up "$program"

export SCHEMATHESIS_HOOKS=$PWD/scripts/schemathesis_hooks.py
cd "$work"
timeout "$seconds" "$venv/bin/schemathesis" run "http://$gateway/openapi.json" \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,unsupported_method \
  --phases examples,coverage,fuzzing --max-examples 60 --max-time 45 --no-color \
  --generation-deterministic --no-shrink --continue-on-failure ||
  fail "an answer is not as the document says, or it took more than $seconds s"

# It has taken everything, and is as good as before.
kill -0 "$up" 2>/dev/null || fail 'up has ended'
answer=$(curl -sS -d '"afterwards"' "http://$gateway/api/datasync")
[[ $answer == 'Data message queued for synchronization.' ]] || fail "afterwards curl said: $answer"
echo 'schemathesis: every answer is as the document says'
