#!/usr/bin/env bash
# Requests per second through several gateways, side by side on this machine: the same chat, the same stand-in upstream,
# the same load (wrk), in turns, several rounds; the best round of each counts, which is fairest on a busy machine.
#
#   benches/compare/run.sh [NAME...]     direct nginx pointsman switchyard portkey litellm; all that are installed
#   SECONDS_EACH=5 ROUNDS=3 CONNECTIONS=8 STREAM=0 POINTSMAN_BIN=target/release/pointsman
#
# Needs wrk and nginx (apt-get install wrk nginx). The others are looked for in COMPARE_DIR (default target/compare):
#   python3 -m venv target/compare/litellm    && target/compare/litellm/bin/pip install 'litellm[proxy]'
#   python3 -m venv target/compare/switchyard && target/compare/switchyard/bin/pip install nemo-switchyard
#   npm install --prefix target/compare @portkey-ai/gateway
set -uo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/benches/compare
others=${COMPARE_DIR:-$PWD/target/compare}
bin=$(realpath "${POINTSMAN_BIN:-target/release/pointsman}")
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
cd "$work"

[ $# -gt 0 ] && names=("$@") || names=(direct nginx pointsman switchyard portkey litellm)
declare -A port=([direct]=9100 [nginx]=9101 [pointsman]=9102 [switchyard]=9103 [portkey]=9104 [litellm]=9105) best peak
running=()

wait_for() { for _ in $(seq 600); do (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0; sleep 0.1; done; return 1; }

start() {
    case $1 in
    direct) exec "$bin" bench --upstream 127.0.0.1:9100 ;;
    nginx) mkdir -p tmp && exec nginx -p "$work" -c "$here/nginx.conf" -g 'daemon off;' ;;
    pointsman) BENCH_KEY=bench exec "$bin" serve --config "$here/pointsman.toml" 2>pointsman.log ;;
    switchyard) exec "$here/switchyard.sh" "$others/switchyard" 9103 ;;
    portkey) PORT=9104 exec node "$others/node_modules/@portkey-ai/gateway/build/start-server.js" --headless --port=9104 ;;
    litellm) LITELLM_MASTER_KEY=$TOKEN exec "$others/litellm/bin/litellm" --config "$here/litellm.yaml" --port 9105 --num_workers 1 ;;
    esac
}

start direct >/dev/null 2>&1 &
wait_for 9100 || { echo "the upstream did not start: is $bin built?"; exit 1; }
TOKEN=$("$bin" token new bench --config "$here/pointsman.toml")
export TOKEN
for name in "${names[@]}"; do
    [ "$name" = direct ] && { running+=(direct); continue; }
    start "$name" >"$name.out" 2>&1 &
    pid[${port[$name]}]=$!
    if wait_for "${port[$name]}"; then running+=("$name"); else echo "$name did not start: $(tail -n 2 "$name.out")"; fi
done

load() {
    local path=/v1/chat/completions host=
    [ "$1" = portkey ] && host=http://127.0.0.1:9100/v1
    PORTKEY_HOST=$host wrk -t "${THREADS:-1}" -c "${CONNECTIONS:-8}" -d "${2}s" -s "$here/chat.lua" "http://127.0.0.1:${port[$1]}$path" |
        sed -n 's/^RESULT //p'
}
for name in "${running[@]}"; do load "$name" 2 >/dev/null; done
for round in $(seq "${ROUNDS:-3}"); do
    for name in "${running[@]}"; do
        read -r rate p50 p99 bad < <(load "$name" "${SECONDS_EACH:-5}")
        printf 'round %d %-11s %9s/s  p50 %8s ms  p99 %8s ms  %s bad\n' "$round" "$name" "$rate" "$p50" "$p99" "$bad"
        if [ "${rate:-0}" -gt "${best[$name]:-0}" ]; then best[$name]=$rate; fi
    done
done
echo
printf '%-12s %10s %14s %12s\n' gateway best/s "of nginx's" "peak MiB"
for name in "${running[@]}"; do
    memory=-
    [ "$name" != direct ] && memory=$(awk '/VmHWM/ { printf "%.0f", $2 / 1024 }' "/proc/${pid[${port[$name]}]}/status" 2>/dev/null)
    share=$(awk -v a="${best[$name]}" -v b="${best[nginx]:-0}" 'BEGIN { if (b > 0) printf "%.2f", a / b; else print "-" }')
    printf '%-12s %10s %14s %12s\n' "$name" "${best[$name]}" "$share" "$memory"
done
