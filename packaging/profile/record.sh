#!/usr/bin/env bash
# Records what requests run through, for the compiler (RELEASE-HOST.profdata, which ./rustc hands it) and for the linker
# (functions.order, by ./build.rs). To be run when the compiler, libraries or much of the code have changed, and behind the
# last change before a release: a few lines give functions other names for the linker (226 of 3,052 once, which cost a tenth
# of the processor time). Takes half an hour on two cores; needs curl, valgrind, and `rustup component add llvm-tools`.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/packaging/profile
target=$PWD/target/profile
compiler=$(rustc -vV | awk '$1 == "release:" { release = $2 } $1 == "host:" { host = $2 } END { print release "-" host }')
profdata=$(rustc --print target-libdir)/../bin/llvm-profdata
[ -x "$profdata" ] || { echo "llvm-profdata is missing: rustup component add llvm-tools"; exit 1; }
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT

# From the beginning: cargo does not know that the profile is another.
build() { rm -rf "$target" && cargo build --release --locked --target-dir "$target" && bin=$target/release/pointsman; }

# serve COMMAND...: a gateway under COMMAND, as it would be run: tokens, rules that read, a log in JSON.
cat >"$work/config.toml" <<'END'
[access]
auth = "required"
[telemetry]
log_format = "json"
[[rules]]
name = "secrets"
when = { regex = ["(?i)confidential"], keywords = ["secret"] }
pin = "gpt-4o"
END
proxy=http://127.0.0.1:9112
admin=http://127.0.0.1:9113
export POINTSMAN__SERVER__LISTEN=${proxy#*//} POINTSMAN__ADMIN__LISTEN=${admin#*//} POINTSMAN__SERVER__DATA_DIR=$work/data
serve() {
    rm -rf "$work/data"
    token=$("$bin" token new record --config "$work/config.toml" 2>/dev/null)
    "$@" "$bin" serve --sandbox --config "$work/config.toml" >"$work/log" 2>&1 &
    gateway=$!
    until grep -q 'classifier is ready' "$work/log"; do
        kill -0 $gateway || { cat "$work/log"; exit 1; }
        sleep 1
    done
}
stop() { kill -INT $gateway && { wait $gateway || true; }; }
ask() { curl -fsS -m 60 -o /dev/null -H "authorization: Bearer $token" -H 'content-type: application/json' "$@"; }
post() { ask "$proxy$1" -d "$2"; }

# requests ROUNDS MANY: each kind of request to each kind of model so often, then many of the simplest at once.
requests() {
    told='[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is the sky blue?"}]'
    asked='[{"role": "user", "content": "Why is the sky blue?"}]'
    parameters='{"type": "object", "properties": {"city": {"type": "string"}}}'
    tools='[{"type": "function", "function": {"name": "weather", "parameters": '$parameters'}}]'
    claudes='[{"name": "weather", "input_schema": '$parameters'}]'
    for round in $(seq "$1"); do
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
        echo "round $round of $1"
    done
    ask --no-progress-meter --parallel --parallel-max 64 "$proxy/v1/chat/completions?[1-$2]" -d '{"model": "gpt-4o", "messages": '"$told"'}'
    sleep 20 # what comes after requests: the log is flushed and compacted, the policy retuned
}

RECORD_INTO=$work/counts build
serve env
requests 20 100000
stop
"$profdata" merge --sparse -o "$work/profile" "$work"/counts/*.profraw
rm -f "$here"/*.profdata
mv "$work/profile" "$here/$compiler.profdata"

build
serve valgrind --tool=callgrind --instr-atstart=no --demangle=no --callgrind-out-file="$work/calls"
callgrind_control -i on $gateway >/dev/null
requests 2 4000
callgrind_control -i off $gateway >/dev/null
stop
# The sandbox is no part of what is measured. Names that stand in the profile for a part of a function end in a number.
callgrind_annotate --threshold=100 "$work/calls" 2>/dev/null |
    sed -nE "s#^.*:([_A-Za-z0-9.\$]+)('[0-9]+)? \[$bin\].*#\1#p" |
    grep -vE 'pointsman(7|\.\.)sandbox' | LC_ALL=C sort -u >"$here/functions.order"
echo "$(du -h "$here/$compiler.profdata" | cut -f1) of profile, $(wc -l <"$here/functions.order") functions in order; a build from empty has both"
