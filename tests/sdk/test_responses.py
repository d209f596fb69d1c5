"""OpenAI's SDK, its newer half: the Responses API before every kind of backend, buffered and streamed."""

import json
import unittest
from typing import Literal

import openai
from openai.types.responses import Response
from pydantic import BaseModel, ConfigDict

from gateway import BACKENDS, Gateway

TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
    "strict": False,
}
QUESTION = "Why is the sky blue?"
WEATHER = [{"role": "user", "content": "What is the weather in Oslo?"}]
# A picture of one pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


class Sky(BaseModel):
    model_config = ConfigDict(extra="forbid")
    colour: Literal["blue", "red"]


def setUpModule():
    global gateway, client
    gateway = Gateway()
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0)


def tearDownModule():
    gateway.stop()


def calls(answer):
    return [item for item in answer.output if item.type == "function_call"]


class ResponsesClient(unittest.TestCase):
    def each(self):
        for vendor, model in BACKENDS.items():
            with self.subTest(backend=vendor):
                yield vendor, model

    def sound(self, answer):
        """The SDK itself checks no answer against its types."""
        Response.model_validate(answer.to_dict(), strict=False)

    def test_buffered(self):
        for vendor, model in self.each():
            answer = client.responses.create(model=model, instructions="Be brief.", input=QUESTION)
            self.assertTrue(answer.output_text.startswith("[sandbox"), answer)
            self.assertEqual((answer.status, answer.instructions, answer.error), ("completed", "Be brief.", None))
            self.assertGreater(answer.usage.input_tokens, 0)
            self.assertEqual(answer.usage.total_tokens, answer.usage.input_tokens + answer.usage.output_tokens)
            self.sound(answer)

    def test_token_counts(self):
        for vendor, model in self.each():
            count = client.responses.input_tokens.count(model=model, instructions="Be brief.", input=QUESTION)
            self.assertEqual(count.object, "response.input_tokens")
            self.assertGreater(count.input_tokens, 0)

    def test_streamed(self):
        for vendor, model in self.each():
            events = list(client.responses.create(model=model, input=QUESTION, stream=True))
            self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
            self.assertEqual([event.type for event in events[:2]], ["response.created", "response.in_progress"])
            said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
            self.assertTrue(said.startswith("[sandbox"), said)
            last = events[-1]
            self.assertEqual((last.type, last.response.output_text), ("response.completed", said))
            self.assertGreater(last.response.usage.output_tokens, 0)
            self.sound(last.response)

    def test_the_streaming_helper(self):
        for vendor, model in self.each():
            with client.responses.stream(model=model, input=WEATHER, tools=[TOOL]) as stream:
                done = [event for event in stream if event.type == "response.function_call_arguments.done"]
                final = stream.get_final_response()
            self.assertIn("city", json.loads(done[0].arguments))
            self.assertEqual([call.arguments for call in calls(final)], [event.arguments for event in done])

    def test_tools_and_their_results(self):
        for vendor, model in self.each():
            asked = client.responses.create(model=model, input=WEATHER, tools=[TOOL], store=False)
            self.sound(asked)
            call = calls(asked)[0]
            self.assertEqual((call.name, call.status), ("get_weather", "completed"))
            self.assertIn("city", json.loads(call.arguments))
            # What an SDK's user does: the answer goes back as it came, reasoning and all.
            result = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain, 4 degrees"}
            told = client.responses.create(model=model, input=WEATHER + asked.output + [result], tools=[TOOL])
            self.assertIn("Rain, 4 degrees", told.output_text)

    def test_a_signed_thought_goes_back_as_it_came(self):
        # The sandbox refuses a thought whose signature is not its own.
        model = BACKENDS["anthropic"]
        options = {"model": model, "tools": [TOOL], "store": False, "include": ["reasoning.encrypted_content"]}
        for stream in [False, True]:
            if stream:
                with client.responses.stream(input=WEATHER, reasoning={"effort": "low"}, **options) as events:
                    asked = events.get_final_response()
            else:
                asked = client.responses.create(input=WEATHER, reasoning={"effort": "low"}, **options)
            thought = asked.output[0]
            self.assertEqual(thought.type, "reasoning")
            self.assertTrue(thought.encrypted_content and thought.summary[0].text)
            result = {"type": "function_call_output", "call_id": calls(asked)[0].call_id, "output": "Rain, 4 degrees"}
            sent = WEATHER + [item.to_dict() for item in asked.output] + [result]
            raw = client.responses.with_raw_response.create(input=sent, reasoning={"effort": "low"}, **options)
            self.assertIn("Rain, 4 degrees", raw.parse().output_text)
            self.assertNotIn("thinking", raw.headers.get("x-pointsman-dropped", ""))
            broken = [item | {"encrypted_content": "gAAAAABo"} if item["type"] == "reasoning" else item for item in sent[1:]]
            raw = client.responses.with_raw_response.create(input=sent[:1] + broken, **options)
            self.assertIn("input[].thinking", raw.headers["x-pointsman-dropped"])

    def test_a_tool_that_must_be_called(self):
        for vendor, model in self.each():
            if vendor == "anthropic":
                continue  # a model that refuses it
            choice = {"type": "function", "name": "get_weather"}
            answer = client.responses.create(model=model, input=QUESTION, tools=[TOOL], tool_choice=choice)
            self.assertIn("city", json.loads(calls(answer)[0].arguments))
            self.assertEqual(answer.tool_choice.name, "get_weather")

    def test_tools_that_openai_runs_itself(self):
        search = [{"type": "web_search", "search_context_size": "low"}]
        raw = client.responses.with_raw_response.create(model="auto", input=QUESTION, tools=search)
        self.assertTrue(raw.headers["x-pointsman-model"].startswith("gpt-"), raw.headers)
        answer = raw.parse()
        self.assertEqual(answer.tools[0].search_context_size, "low")
        self.sound(answer)
        found = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "sky"}}
        turns = [{"role": "user", "content": QUESTION}, found, {"role": "user", "content": "And at night?"}]
        self.sound(client.responses.create(model="auto", input=turns, tools=search))

    def test_structured_output(self):
        for _, model in self.each():  # DeepSeek is told in words
            answer = client.responses.parse(model=model, input=QUESTION, text_format=Sky)
            self.assertIn(answer.output_parsed.colour, ["blue", "red"])

    def test_pictures(self):
        content = [
            {"type": "input_text", "text": "What is on it?"},
            {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"},
        ]
        for model in [BACKENDS["openai"], BACKENDS["anthropic"]]:
            answer = client.responses.create(model=model, input=[{"role": "user", "content": content}])
            self.assertIn("1 picture", answer.output_text)

    def test_limits(self):
        for vendor, model in self.each():
            answer = client.responses.create(model=model, input=QUESTION, max_output_tokens=2)
            self.assertEqual((answer.status, answer.incomplete_details.reason), ("incomplete", "max_output_tokens"))
            last = list(client.responses.create(model=model, input=QUESTION, max_output_tokens=2, stream=True))[-1]
            self.assertEqual(last.type, "response.incomplete")

    def test_auto_and_the_rating_of_an_answer(self):
        raw = client.responses.with_raw_response.create(model="auto:quality", input=QUESTION)
        for header in ["decision", "model", "backend", "policy", "reason"]:
            self.assertTrue(raw.headers.get(f"x-pointsman-{header}"), header)
        answer = raw.parse()
        self.assertEqual(answer.model, raw.headers["x-pointsman-model"])
        door = client.with_options(base_url=gateway.url)
        # An answer whose bytes pass through has the vendor's id.
        translated = client.responses.with_raw_response.create(model=BACKENDS["anthropic"], input=QUESTION)
        for headers, known_by in [
            (raw.headers, raw.headers["x-pointsman-decision"]),
            (translated.headers, translated.parse().id),
        ]:
            rated = door.post("/api/feedback", body={"decision_id": known_by, "thumbs": "up"}, cast_to=object)
            self.assertEqual(rated["decision_id"], headers["x-pointsman-decision"])
        metrics = client._client.get(f"{gateway.admin}/metrics").text
        self.assertIn('dialect="responses"', metrics)


if __name__ == "__main__":
    unittest.main()
