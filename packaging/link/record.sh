#!/usr/bin/env bash
# Records which functions of the release binary requests go through: packaging/link/functions.order, for build.rs.
# To be run again when the compiler or many libraries have changed. Takes some minutes; needs valgrind and curl.
#
#   cargo build --release --locked && packaging/link/record.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
list=$PWD/packaging/link/functions.order
bin=$(realpath "${POINTSMAN_BIN:-target/release/pointsman}")
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$work"' EXIT
cd "$work"

# As it would be run: tokens, rules that read, a log in JSON.
cat >config.toml <<'END'
[access]
auth = "required"
[telemetry]
log_format = "json"
[[rules]]
name = "secrets"
when = { regex = ["(?i)confidential"], keywords = ["secret"] }
pin = "gpt-4o"
END
export POINTSMAN__SERVER__LISTEN=127.0.0.1:9112 POINTSMAN__ADMIN__LISTEN=127.0.0.1:9113 POINTSMAN__SERVER__DATA_DIR=$work/data
token=$("$bin" token new record --config config.toml 2>/dev/null)
valgrind --tool=callgrind --instr-atstart=no --demangle=no --callgrind-out-file="$work/profile" \
    "$bin" serve --sandbox --config config.toml >log 2>&1 &
gateway=$!
proxy=http://127.0.0.1:9112
admin=http://127.0.0.1:9113
ask() { curl -fsS -m 60 -o /dev/null -H "authorization: Bearer $token" -H 'content-type: application/json' "$@"; }
post() { ask "$proxy$1" -d "$2"; }
until grep -q 'classifier is ready' log; do
    kill -0 $gateway || { cat log; exit 1; }
    sleep 1
done
callgrind_control -i on $gateway >/dev/null

told='[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is the sky blue?"}]'
asked='[{"role": "user", "content": "Why is the sky blue?"}]'
parameters='{"type": "object", "properties": {"city": {"type": "string"}}}'
tools='[{"type": "function", "function": {"name": "weather", "parameters": '$parameters'}}]'
claudes='[{"name": "weather", "input_schema": '$parameters'}]'
for round in $(seq "${ROUNDS:-2}"); do
    for model in auto gpt-4o gpt-6-luna claude-sonnet deepseek-v3.1 llama3.2:latest; do
        for stream in false true; do
            post /v1/chat/completions '{"model": "'$model'", "stream": '$stream', "messages": '"$told"'}'
            post /v1/chat/completions '{"model": "'$model'", "stream": '$stream', "tools": '"$tools"', "messages": '"$told"'}'
            post /v1/messages '{"model": "'$model'", "stream": '$stream', "max_tokens": 99, "messages": '"$asked"'}'
            post /v1/messages '{"model": "'$model'", "stream": '$stream', "max_tokens": 99, "tools": '"$claudes"', "messages": '"$asked"'}'
            post /v1/responses '{"model": "'$model'", "stream": '$stream', "input": '"$asked"'}'
            post /api/chat '{"model": "'$model'", "stream": '$stream', "messages": '"$told"'}'
        done
    done
    post /api/route '{"messages": '"$asked"'}'
    decision=$(ask -D - "$proxy/api/chat" -d '{"messages": '"$asked"'}' |
        sed -nE 's/^x-pointsman-decision: ([^\r]*).*/\1/p')
    post /api/feedback '{"decision_id": "'"$decision"'", "thumbs": "up"}'
    ask "$proxy/v1/models"
    ask "$admin/metrics"
    echo "round $round of ${ROUNDS:-2}"
done
# Many at once, for what happens now and then.
ask --no-progress-meter --parallel --parallel-max 64 "$proxy/v1/chat/completions?[1-4000]" -d '{"model": "gpt-4o", "messages": '"$told"'}'
sleep 20 # what comes after requests: the log is flushed and compacted, the policy retuned
callgrind_control -i off $gateway >/dev/null
kill -INT $gateway
wait $gateway || true

# The sandbox is no part of what is measured. Names that stand in the profile for a part of a function end in a number.
callgrind_annotate --threshold=100 "$work/profile" 2>/dev/null |
    sed -nE "s#^.*:([_A-Za-z0-9.\$]+)('[0-9]+)? \[$bin\].*#\1#p" |
    grep -vE 'pointsman(7|\.\.)sandbox' | LC_ALL=C sort -u >"$list"
echo "$(wc -l <"$list") functions"
