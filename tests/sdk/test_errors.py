"""What goes wrong, as the SDKs' own exceptions."""

import unittest

import anthropic
import openai

from gateway import Gateway

QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]
# DeepSeek is down; the rule sends `auto` there first, and Claude stands in.
CONFIG = """
[providers.deepseek.headers]
x-sandbox-fault = "status:503"
[providers.openai.headers]
x-sandbox-fault = "stream-error:2"
[dispatch]
backoff_ms = 1
[dispatch.breaker]
consecutive_failures = 1000
window = 1000
[[rules]]
name = "the broken one first"
when = { keywords = ["failover"] }
prefer = ["deepseek-v3.1", "claude-sonnet-5-5"]
"""


def setUpModule():
    global gateway, openai_client, anthropic_client
    gateway = Gateway(CONFIG, tokens=[("app",), ("slow", "--rpm", "1"), ("rater", "--scopes", "feedback")])
    openai_client = openai_with("app")
    anthropic_client = anthropic_with("app")


def tearDownModule():
    gateway.stop()


def openai_with(token):
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.tokens.get(token, token), max_retries=0)


def anthropic_with(token):
    return anthropic.Anthropic(base_url=gateway.url, api_key=gateway.tokens.get(token, token), max_retries=0)


def ask_openai(client=None, **options):
    options = {"model": "claude-sonnet-5-5", "messages": QUESTION} | options
    return (client or openai_client).chat.completions.create(**options)


def ask_responses(client=None, **options):
    options = {"model": "claude-sonnet-5-5", "input": "Why is the sky blue?"} | options
    return (client or openai_client).responses.create(**options)


def ask_anthropic(client=None, **options):
    options = {"model": "claude-sonnet-5-5", "messages": QUESTION, "max_tokens": 100} | options
    return (client or anthropic_client).messages.create(**options)


class Errors(unittest.TestCase):
    def both(self, exception, **options):
        with self.assertRaises(getattr(openai, exception)) as first:
            ask_openai(**options)
        with self.assertRaises(getattr(anthropic, exception)) as second:
            ask_anthropic(**options)
        return first.exception, second.exception

    def test_a_wrong_token(self):
        with self.assertRaises(openai.AuthenticationError):
            ask_openai(openai_with("pm_wrong"))
        with self.assertRaises(openai.AuthenticationError):
            ask_responses(openai_with("pm_wrong"))
        with self.assertRaises(anthropic.AuthenticationError):
            ask_anthropic(anthropic_with("pm_wrong"))

    def test_a_token_without_the_scope(self):
        with self.assertRaises(openai.PermissionDeniedError):
            ask_openai(openai_with("rater"))
        with self.assertRaises(anthropic.PermissionDeniedError):
            ask_anthropic(anthropic_with("rater"))

    def test_too_many_requests_say_when_to_come_back(self):
        ask_openai(openai_with("slow"))
        with self.assertRaises(openai.RateLimitError) as limited:
            ask_openai(openai_with("slow"))
        self.assertGreater(int(limited.exception.response.headers["retry-after"]), 0)
        with self.assertRaises(anthropic.RateLimitError):
            ask_anthropic(anthropic_with("slow"))

    def test_a_model_that_does_not_exist(self):
        first, _ = self.both("NotFoundError", model="gpt-4oo")
        self.assertIn("did you mean", first.message)

    def test_a_wrong_request_names_the_field(self):
        first, second = self.both("BadRequestError", extra_body={"temperature": "hot"})
        self.assertIn("temperature", first.message)
        self.assertIn("temperature", second.message)

    def test_what_a_backend_cannot_do(self):
        picture = [{"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}]
        with self.assertRaises(openai.BadRequestError) as refused:
            ask_openai(model="deepseek-v3.1", messages=[{"role": "user", "content": picture}])
        self.assertIn("see images", refused.exception.message)

    def test_what_cannot_be_carried_over_and_changes_the_meaning_is_refused(self):
        tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in "fg"]
        stranger = {"type": "function", "function": {"name": "stranger"}}
        with self.assertRaises(openai.BadRequestError) as refused:
            ask_openai(model="llama3.2", tools=tools, tool_choice=stranger)
        self.assertEqual(refused.exception.param, "tool_choice")
        tools = [{"name": name, "input_schema": {"type": "object"}} for name in "fg"]
        with self.assertRaises(anthropic.BadRequestError) as refused:
            ask_anthropic(model="llama3.2", tools=tools, tool_choice={"type": "tool", "name": "stranger"})
        self.assertIn("tool_choice", refused.exception.message)

    def test_what_is_kept_elsewhere_is_refused_with_what_to_do_instead(self):
        for options, param in [
            ({"previous_response_id": "resp_1"}, "previous_response_id"),
            ({"conversation": "conv_1"}, "conversation"),
            ({"background": True}, "background"),
            ({"model": "llama3.2", "tools": [{"type": "web_search"}]}, "tools (web_search)"),
            ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].id"),
            ({"temperature": "hot"}, "temperature"),
        ]:
            with self.subTest(param=param), self.assertRaises(openai.BadRequestError) as refused:
                ask_responses(**options)
            self.assertEqual(refused.exception.param, param)
        with self.assertRaises(openai.NotFoundError) as lost:
            openai_client.responses.retrieve("resp_1")
        self.assertIn("keeps no answers", lost.exception.message)
        with self.assertRaises(openai.NotFoundError):
            ask_responses(model="gpt-4oo")

    def test_what_cannot_be_carried_over_and_changes_nothing_is_told(self):
        raw = openai_client.chat.completions.with_raw_response.create(model="llama3.2", messages=QUESTION, user="u-1")
        self.assertIn("user", raw.headers["x-pointsman-dropped"])
        raw = openai_client.responses.with_raw_response.create(model="llama3.2", input="Hello", store=True)
        self.assertEqual(raw.headers["x-pointsman-dropped"], "store")

    def test_a_prompt_that_is_too_long(self):
        long = [{"role": "user", "content": "word " * 60_000}]
        first, second = self.both("BadRequestError", model="llama3.2", messages=long)
        self.assertIn("context", first.message)

    def test_a_backend_that_is_down(self):
        first, second = self.both("InternalServerError", model="deepseek-v3.1")
        self.assertIn("deepseek", first.message)

    def test_failover_is_not_noticed(self):
        question = [{"role": "user", "content": "A question about failover"}]
        raw = openai_client.chat.completions.with_raw_response.create(model="auto", messages=question)
        self.assertEqual(raw.headers["x-pointsman-model"], "claude-sonnet-5-5")
        self.assertIn("failover", raw.headers["x-pointsman-reason"])
        raw = anthropic_client.messages.with_raw_response.create(model="auto", messages=question, max_tokens=100)
        self.assertEqual(raw.headers["x-pointsman-model"], "claude-sonnet-5-5")

    def test_a_stream_that_breaks(self):
        with self.assertRaises(openai.APIError):
            for _ in ask_openai(model="gpt-4o", stream=True):
                pass
        try:
            last = list(ask_responses(model="gpt-4o", stream=True))[-1]
        except openai.InternalServerError:
            return  # It broke before it began.
        # Of this API's streams the SDK raises nothing: the event says it.
        self.assertEqual((last.type, last.response.status), ("response.failed", "failed"))
        self.assertTrue(last.response.error.message)
        with self.assertRaises(anthropic.APIError):
            for _ in ask_anthropic(model="gpt-4o", stream=True):
                pass


if __name__ == "__main__":
    unittest.main()
