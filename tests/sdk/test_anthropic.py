"""Anthropic's SDK: every kind of backend behind it, buffered and streamed."""

import unittest

import anthropic

from gateway import BACKENDS, Gateway

TOOL = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]


def setUpModule():
    global gateway, client
    gateway = Gateway()
    client = anthropic.Anthropic(base_url=gateway.url, api_key="none", max_retries=0)


def tearDownModule():
    gateway.stop()


def text(message):
    return "".join(block.text for block in message.content if block.type == "text")


class AnthropicClient(unittest.TestCase):
    def each(self):
        for vendor, model in BACKENDS.items():
            with self.subTest(backend=vendor):
                yield vendor, model

    def test_buffered(self):
        for vendor, model in self.each():
            answer = client.messages.create(model=model, max_tokens=300, system="Be brief.", messages=QUESTION)
            self.assertTrue(text(answer).startswith("[sandbox"), answer)
            self.assertEqual((answer.stop_reason, answer.role), ("end_turn", "assistant"))
            self.assertGreater(answer.usage.input_tokens, 0)
            self.assertGreater(answer.usage.output_tokens, 0)

    def test_streamed(self):
        for vendor, model in self.each():
            with client.messages.stream(model=model, max_tokens=300, messages=QUESTION) as stream:
                said = "".join(stream.text_stream)
                final = stream.get_final_message()
            self.assertTrue(said.startswith("[sandbox"), said)
            self.assertEqual(said, text(final))
            self.assertEqual(final.stop_reason, "end_turn")
            self.assertGreater(final.usage.output_tokens, 0)

    def test_tools_and_their_results(self):
        for vendor, model in self.each():
            messages = [{"role": "user", "content": "What is the weather in Oslo?"}]
            asked = client.messages.create(model=model, max_tokens=300, messages=messages, tools=[TOOL])
            self.assertEqual(asked.stop_reason, "tool_use")
            call = next(block for block in asked.content if block.type == "tool_use")
            self.assertEqual(call.name, "get_weather")
            self.assertIn("city", call.input)
            result = {"type": "tool_result", "tool_use_id": call.id, "content": "Rain, 4 degrees"}
            messages += [{"role": "assistant", "content": asked.content}, {"role": "user", "content": [result]}]
            told = client.messages.create(model=model, max_tokens=300, messages=messages, tools=[TOOL])
            self.assertIn("Rain, 4 degrees", text(told))

    def test_tool_runner(self):
        # It begins a thread at the vendor, and must learn from the refusal to send the whole conversation.
        @anthropic.beta_tool
        def get_weather(city: str) -> str:
            """The weather of a city"""
            return "Rain, 4 degrees"

        question = [{"role": "user", "content": "What is the weather in Oslo?"}]
        for vendor, model in self.each():
            runner = client.beta.messages.tool_runner(
                model=model, max_tokens=300, messages=question, tools=[get_weather]
            )
            self.assertIn("Rain, 4 degrees", text(runner.until_done()))

    def test_streamed_tools(self):
        for vendor, model in self.each():
            question = [{"role": "user", "content": "What is the weather in Oslo?"}]
            with client.messages.stream(model=model, max_tokens=300, messages=question, tools=[TOOL]) as stream:
                final = stream.get_final_message()
            call = next(block for block in final.content if block.type == "tool_use")
            self.assertEqual((call.name, final.stop_reason), ("get_weather", "tool_use"))
            self.assertIn("city", call.input)

    def test_thinking(self):
        # Ollama's sandbox model does not think; the dialects that can say it do.
        for vendor in ["anthropic", "deepseek"]:
            with self.subTest(backend=vendor):
                answer = client.messages.create(
                    model=BACKENDS[vendor], max_tokens=3000, messages=QUESTION, thinking={"type": "enabled", "budget_tokens": 1024}
                )
                kinds = [block.type for block in answer.content]
                self.assertEqual(kinds, ["thinking", "text"])

    def test_auto(self):
        raw = client.messages.with_raw_response.create(model="auto", max_tokens=100, messages=QUESTION)
        self.assertTrue(text(raw.parse()))
        for header in ["decision", "model", "backend", "policy", "reason"]:
            self.assertTrue(raw.headers.get(f"x-pointsman-{header}"), header)

    def test_limits_and_stop_strings(self):
        for vendor, model in self.each():
            answer = client.messages.create(model=model, max_tokens=2, messages=QUESTION)
            self.assertEqual(answer.stop_reason, "max_tokens")
            answer = client.messages.create(model=model, max_tokens=300, messages=QUESTION, stop_sequences=["answer"])
            self.assertNotIn("answer", text(answer))

    def test_token_counts(self):
        for vendor, model in self.each():
            count = client.messages.count_tokens(model=model, messages=QUESTION)
            self.assertGreater(count.input_tokens, 0)

    def test_models(self):
        names = [model.id for model in client.models.list()]
        self.assertEqual(names[0], "auto")
        self.assertIn(BACKENDS["openai"], names)
        self.assertEqual([client.models.retrieve(name).id for name in names], names)
        with self.assertRaises(anthropic.NotFoundError):
            client.models.retrieve("claude-5000")


if __name__ == "__main__":
    unittest.main()
