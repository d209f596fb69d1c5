#!/usr/bin/env bash
# Schemathesis against /openapi.json of a running `serve --sandbox`: both listeners, thousands of right and wrong
# requests, no 5xx but the documented 503, no panic.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=${POINTSMAN_CI_DIR:-$PWD/target/ci}
if [ -z "${POINTSMAN_BIN:-}" ]; then
    cargo build --locked --quiet
    export POINTSMAN_BIN="$PWD/target/debug/pointsman"
fi
. tests/sdk/venv.sh
venv "$dir/schema" tests/schema/requirements.txt
PYTHONPATH=tests/sdk exec "$dir/schema/bin/python" tests/schema/run.py
