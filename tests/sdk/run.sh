#!/usr/bin/env bash
# The vendors' own SDKs against a running `serve --sandbox`. Needs Python 3.10 or newer; makes a virtual environment
# under target/ci. POINTSMAN_BIN names the binary; without it a debug build is made.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=${POINTSMAN_CI_DIR:-$PWD/target/ci}
if [ -z "${POINTSMAN_BIN:-}" ]; then
    cargo build --locked --quiet
    export POINTSMAN_BIN="$PWD/target/debug/pointsman"
fi
. tests/sdk/venv.sh
venv "$dir/sdk" tests/sdk/requirements.txt
cd tests/sdk
exec "$dir/sdk/bin/python" -m unittest -v ${@:-}
