-- What wrk posts: the same chat to everybody.
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer " .. (os.getenv("TOKEN") or "none")
local provider = os.getenv("PORTKEY_HOST")
if provider then
    wrk.headers["x-portkey-provider"] = "openai"
    wrk.headers["x-portkey-custom-host"] = provider
end
local stream = os.getenv("STREAM") == "1" and '"stream":true,' or ""
wrk.body = '{"model":"bench",' .. stream .. '"temperature":0.2,"messages":[{"role":"system","content":"You are a helpful assistant."},'
    .. '{"role":"user","content":"Why is the sky blue, and why is it red in the evening? Answer in two sentences."}]}'
function done(summary, latency, requests)
    local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
    io.write(string.format("RESULT %.0f %.3f %.3f %d\n", summary.requests / summary.duration * 1e6,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000, bad))
end
