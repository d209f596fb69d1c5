"""OpenAI's SDK: every kind of backend behind it, buffered and streamed."""

import json
import time
import unittest

import openai

from gateway import BACKENDS, Gateway

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is the sky blue?"}]
# A picture of one pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


def setUpModule():
    global gateway, client
    gateway = Gateway()
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0)


def tearDownModule():
    gateway.stop()


class OpenAiClient(unittest.TestCase):
    def each(self):
        for vendor, model in BACKENDS.items():
            with self.subTest(backend=vendor):
                yield vendor, model

    def test_buffered(self):
        for vendor, model in self.each():
            answer = client.chat.completions.create(model=model, messages=QUESTION)
            self.assertTrue(answer.choices[0].message.content.startswith("[sandbox"), answer)
            self.assertEqual(answer.choices[0].finish_reason, "stop")
            self.assertGreater(answer.usage.prompt_tokens, 0)
            self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)

    def test_streamed(self):
        for vendor, model in self.each():
            stream = client.chat.completions.create(
                model=model, messages=QUESTION, stream=True, stream_options={"include_usage": True}
            )
            text, finish, usage = "", None, None
            for chunk in stream:
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    text += choice.delta.content or ""
                    finish = choice.finish_reason or finish
            self.assertTrue(text.startswith("[sandbox"), text)
            self.assertEqual(finish, "stop")
            self.assertGreater(usage.completion_tokens, 0)

    def test_a_stream_has_no_usage_unless_asked(self):
        for vendor, model in self.each():
            stream = client.chat.completions.create(model=model, messages=QUESTION, stream=True)
            self.assertTrue(all(chunk.usage is None and chunk.choices for chunk in stream))

    def test_tools_and_their_results(self):
        for vendor, model in self.each():
            messages = [{"role": "user", "content": "What is the weather in Oslo?"}]
            asked = client.chat.completions.create(model=model, messages=messages, tools=[TOOL])
            message = asked.choices[0].message
            self.assertEqual(asked.choices[0].finish_reason, "tool_calls")
            call = message.tool_calls[0]
            self.assertEqual(call.function.name, "get_weather")
            self.assertIn("city", json.loads(call.function.arguments))
            # What an SDK's user does: the answer goes back as it came, reasoning and all.
            messages += [message, {"role": "tool", "tool_call_id": call.id, "content": "Rain, 4 degrees"}]
            told = client.chat.completions.create(model=model, messages=messages, tools=[TOOL])
            self.assertIn("Rain, 4 degrees", told.choices[0].message.content)

    def test_streamed_tools(self):
        for vendor, model in self.each():
            stream = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "What is the weather in Oslo?"}], tools=[TOOL], stream=True
            )
            name, arguments, finish = "", "", None
            for chunk in stream:
                for choice in chunk.choices:
                    finish = choice.finish_reason or finish
                    for call in choice.delta.tool_calls or []:
                        name += call.function.name or ""
                        arguments += call.function.arguments or ""
            self.assertEqual((name, finish), ("get_weather", "tool_calls"))
            self.assertIn("city", json.loads(arguments))

    def test_a_tool_that_must_be_called(self):
        for vendor, model in self.each():
            if vendor == "anthropic":
                continue  # a model that refuses it
            answer = client.chat.completions.create(
                model=model, messages=QUESTION, tools=[TOOL], tool_choice={"type": "function", "function": {"name": "get_weather"}}
            )
            call = answer.choices[0].message.tool_calls[0]
            self.assertEqual((call.function.name, answer.choices[0].finish_reason), ("get_weather", "tool_calls"))
            self.assertIn("city", json.loads(call.function.arguments))

    def rate(self, decision, said):
        """Feedback with what the SDK returned, sent by the SDK; then what the log has of it."""
        door = client.with_options(base_url=gateway.url)
        answer = door.post("/api/feedback", body={"decision_id": decision, "source": "sdk"} | said, cast_to=object)
        self.assertTrue(answer["stored"])
        admin = client.with_options(base_url=gateway.admin)
        return admin.get(f"/api/admin/decisions/{answer['decision_id']}", cast_to=object)

    def test_an_answer_is_rated_by_the_header_it_came_with(self):
        for vendor, model in self.each():
            raw = client.chat.completions.with_raw_response.create(model=model, messages=QUESTION)
            entry = self.rate(raw.headers["x-pointsman-decision"], {"thumbs": "up"})
            self.assertEqual(entry["decision"]["chosen"], raw.headers["x-pointsman-model"])
            self.assertEqual(entry["feedback"][0]["kind"], {"thumbs": "up"})
            self.assertTrue(raw.parse().choices[0].message.content)

    def test_a_streamed_answer_is_rated_too(self):
        for vendor, model in self.each():
            stream = client.chat.completions.create(model=model, messages=QUESTION, stream=True)
            decision = stream.response.headers["x-pointsman-decision"]
            for _ in stream:
                pass
            self.assertEqual(self.rate(decision, {"rating": 2})["feedback"][0]["kind"], {"rating": 2})

    def test_the_id_of_a_translated_answer_is_enough(self):
        for model in (BACKENDS["anthropic"], BACKENDS["ollama"]):
            answer = client.chat.completions.create(model=model, messages=QUESTION)
            self.assertEqual(self.rate(answer.id, {"score": 0.25})["feedback"][0]["kind"], {"score": 0.25})
        with self.assertRaises(openai.BadRequestError) as refused:
            self.rate("chatcmpl-of-somebody-else", {"score": 1})
        self.assertIn("x-pointsman-decision", refused.exception.message)

    def test_structured_output(self):
        schema = {
            "type": "object",
            "properties": {"colour": {"type": "string", "enum": ["blue", "red"]}},
            "required": ["colour"],
            "additionalProperties": False,
        }
        form = {"type": "json_schema", "json_schema": {"name": "sky", "schema": schema, "strict": True}}
        for _, model in self.each():  # DeepSeek is told in words
            answer = client.chat.completions.create(model=model, messages=QUESTION, response_format=form)
            self.assertIn(json.loads(answer.choices[0].message.content)["colour"], ["blue", "red"])

    def test_pictures(self):
        content = [
            {"type": "text", "text": "What is on it?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        ]
        for model in [BACKENDS["openai"], BACKENDS["anthropic"]]:
            answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": content}])
            self.assertIn("1 picture", answer.choices[0].message.content)

    def test_deepseeks_reasoning_stays_out_of_the_text(self):
        answer = client.chat.completions.create(model=BACKENDS["deepseek"], messages=QUESTION)
        message = answer.choices[0].message
        self.assertTrue(message.reasoning_content)
        self.assertNotIn(message.reasoning_content, message.content)
        reasoning, text = "", ""
        for chunk in client.chat.completions.create(model=BACKENDS["deepseek"], messages=QUESTION, stream=True):
            for choice in chunk.choices:
                reasoning += getattr(choice.delta, "reasoning_content", None) or ""
                text += choice.delta.content or ""
        self.assertTrue(reasoning)
        self.assertTrue(text.startswith("[sandbox"), text)

    def test_auto_and_its_objectives(self):
        for model in ["auto", "auto:cost", "auto:quality", "auto:speed"]:
            raw = client.chat.completions.with_raw_response.create(model=model, messages=QUESTION)
            self.assertTrue(raw.parse().choices[0].message.content)
            for header in ["decision", "model", "backend", "policy", "reason"]:
                self.assertTrue(raw.headers.get(f"x-pointsman-{header}"), header)

    def test_limits_and_stop_strings(self):
        for vendor, model in self.each():
            answer = client.chat.completions.create(model=model, messages=QUESTION, max_completion_tokens=2)
            self.assertEqual(answer.choices[0].finish_reason, "length")
            answer = client.chat.completions.create(model=model, messages=QUESTION, stop=["answer"])
            self.assertNotIn("answer", answer.choices[0].message.content)

    def test_embeddings(self):
        for model in ["openai/text-embedding-3-small", "ollama/nomic-embed-text"]:
            answer = client.embeddings.create(model=model, input=["one", "two"], encoding_format="float")
            self.assertEqual(len(answer.data), 2)
            self.assertGreater(len(answer.data[0].embedding), 1)

    def test_models(self):
        names = [model.id for model in client.models.list()]
        self.assertEqual(names[0], "auto")
        self.assertTrue(set(BACKENDS.values()) - {"llama3.2"} <= set(names), names)
        self.assertTrue(any(name.startswith("llama3.2") for name in names), names)
        self.assertEqual([client.models.retrieve(name).id for name in names], names)
        with self.assertRaises(openai.NotFoundError):
            client.models.retrieve("gpt-5000")

    def test_a_client_that_goes_away(self):
        stream = client.chat.completions.create(model="gpt-4o", messages=QUESTION, stream=True)
        next(iter(stream))
        stream.close()
        for _ in range(100):
            metrics = client._client.get(f"{gateway.admin}/metrics").text
            if "\npointsman_in_flight 0" in metrics:
                return
            time.sleep(0.02)
        self.fail("the request is still in flight")


if __name__ == "__main__":
    unittest.main()
