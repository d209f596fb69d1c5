#!/usr/bin/env bash
# Walks the dashboard in a headless Chromium: tests/dashboard/run.sh [BINARY]. Installs what it needs (two npm packages
# beside its output, Debian's chromium where there is none) and leaves screenshots of every page in its output folder.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=${1:-${POINTSMAN_BIN:-$here/../../target/debug/pointsman}}
binary=$(cd "$(dirname "$binary")" && pwd)/$(basename "$binary")
out=${POINTSMAN_CI_DIR:-$here/../../target/ci}/dashboard
mkdir -p "$out/shots"
out=$(cd "$out" && pwd)
[ -x "$binary" ] || { echo "there is no binary at $binary: cargo build"; exit 1; }

if ! command -v chromium >/dev/null; then
    echo "installing chromium"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >"$out/apt.log" 2>&1
fi
cp "$here"/package.json "$here"/*.mjs "$out"/
[ -d "$out/node_modules/playwright-core" ] || npm install --prefix "$out" --no-audit --no-fund --no-package-lock --silent
cd "$out"
exec node walk.mjs "$binary" "$out"
