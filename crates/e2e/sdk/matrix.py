"""One run of the cases with the official `openai` package for Python and with LangChain, against one server.

Arguments: none. Environment: BASE_URL (with its /v1), API_KEY, MODEL. Prints one JSON object: the result of each case, as plain data,
without what differs from run to run (ids, times).
"""

import asyncio
import json
import os
import sys

import openai
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

URL, KEY, MODEL = os.environ["BASE_URL"], os.environ["API_KEY"], os.environ["MODEL"]
client = openai.OpenAI(base_url=URL, api_key=KEY, max_retries=0, timeout=300)
QUESTION = [{"role": "user", "content": "Name three colours."}]
TALK = [
    {"role": "system", "content": "You answer briefly."},
    {"role": "user", "content": "My name is Zoë 🚗."},
    {"role": "assistant", "content": "Hello Zoë 🚗!"},
    {"role": "user", "content": "What is my name?"},
]
SAME = {"model": MODEL, "temperature": 0, "seed": 7}
TOOL = {
    "type": "function",
    "function": {
        "name": "read_codes",
        "description": "Reads the trouble codes of a vehicle.",
        "parameters": {"type": "object", "properties": {"vin": {"type": "string"}}, "required": ["vin"]},
    },
}
NAMED = {"type": "function", "function": {"name": "read_codes"}}
# The small model repeats the calls of its earlier answers.
CALL = {"id": "call_1", "type": "function", "function": {"name": "read_codes", "arguments": '{"vin": "1TPA"}'}}
CALLED = [
    {"role": "user", "content": "Read the codes of vehicle 1TPA."},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "P0420"},
]
TRUCK = [*CALLED, *CALLED, {"role": "user", "content": "Read the codes of vehicle 1TPX."}]


class Colour(BaseModel):
    name: str
    red: int


SCHEMA = {"type": "json_schema", "json_schema": {"name": "colour", "strict": True, "schema": {
    "type": "object", "properties": {"name": {"type": "string", "enum": ["red", "blue"]}, "red": {"type": "integer", "maximum": 9}},
    "required": ["name", "red"], "additionalProperties": False}}}

# Values that differ between two runs of the same request; their types are compared.
VARYING = {"id", "created", "created_at", "completed_at", "item_id", "call_id", "response_id"}


def plain(value, name=""):
    """Plain data without what differs between two runs."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_unset=True)
    if name in VARYING and not isinstance(value, (dict, list)):
        return type(value).__name__
    if name == "timings":
        return sorted(value)
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: plain(part, key) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value


def chunks(stream):
    """Each chunk of a stream, and whether all have the same id."""
    all_chunks = list(stream)
    ids = {getattr(chunk, "id", None) for chunk in all_chunks}
    return {"one_id": len(ids) == 1, "chunks": plain(all_chunks)}


def chat(**more):
    return plain(client.chat.completions.create(**{**SAME, "messages": QUESTION, "max_tokens": 12, **more}))


def streamed(**more):
    return chunks(client.chat.completions.create(**{**SAME, "messages": QUESTION, "max_tokens": 12, **more}, stream=True))


def stream_helper():
    with client.chat.completions.stream(**SAME, messages=QUESTION, stop=",") as stream:
        kinds = [event.type for event in stream]
        return {"events": kinds, "final": plain(stream.get_final_completion())}


def left_early():
    """A caller that leaves a stream can use the client again."""

    async def run():
        async with openai.AsyncOpenAI(base_url=URL, api_key=KEY, max_retries=0) as own:
            stream = await own.chat.completions.create(**SAME, messages=QUESTION, max_tokens=200, stream=True)
            count = 0
            async for _ in stream:
                count += 1
                if count == 3:
                    break
            await stream.close()
            after = await own.chat.completions.create(**SAME, messages=QUESTION, max_tokens=2)
            return plain(after)

    return asyncio.run(run())


def failed(call):
    """The class of the exception, which an application tests, and its status."""
    try:
        call()
    except openai.APIStatusError as error:
        body = error.body if isinstance(error.body, dict) else {}
        return {"raises": type(error).__name__, "status": error.status_code, "message": bool(body.get("message"))}
    return {"raises": None}


def stranger():
    openai.OpenAI(base_url=URL, api_key="tp_wrong", max_retries=0).chat.completions.create(**SAME, messages=QUESTION, max_tokens=1)


def malformed():
    client.post("/chat/completions", body={"model": MODEL, "messages": "not a list"}, cast_to=object)


def not_json():
    client.post("/chat/completions", content=b'{"model": ', options={"headers": {"content-type": "application/json"}}, cast_to=object)


def llm(**more):
    return ChatOpenAI(**{"base_url": URL, "api_key": KEY, "max_tokens": 12, "max_retries": 0, **SAME, **more})


def message(answer):
    kept = answer.model_dump(mode="json", exclude={"id"})
    kept.get("response_metadata", {}).pop("id", None)
    return plain(kept)


OPENAI = {
    "models": lambda: [{"id": model.id, "object": model.object} for model in client.models.list()],
    "chat": lambda: chat(),
    "chat, several turns": lambda: chat(messages=TALK),
    "chat, unknown fields": lambda: chat(extra_body={"min_p": 0.05, "x_unknown": {"deep": [1, 2.50, None]}}),
    "chat, two choices": lambda: chat(n=2, max_tokens=3),
    "stream": lambda: streamed(),
    "stream, include_usage": lambda: streamed(stream_options={"include_usage": True}),
    "stream, include_usage false": lambda: streamed(stream_options={"include_usage": False}),
    "stream, several turns": lambda: streamed(messages=TALK),
    "stream helper": stream_helper,
    "stream left early": left_early,
    "max_tokens": lambda: chat(max_tokens=1),
    "max_completion_tokens": lambda: chat(max_tokens=openai.omit, max_completion_tokens=2),
    "stop": lambda: chat(stop=[",", "\n"]),
    "stop, stream": lambda: streamed(stop=","),
    "logprobs": lambda: chat(logprobs=True, top_logprobs=3, max_tokens=3),
    "logprobs, stream": lambda: streamed(logprobs=True, top_logprobs=2, max_tokens=3),
    "tools": lambda: chat(messages=TRUCK, tools=[TOOL], max_tokens=60),
    "tool_choice none": lambda: chat(messages=TRUCK, tools=[TOOL], tool_choice="none"),
    "tool_choice named": lambda: chat(messages=TRUCK, tools=[TOOL], tool_choice=NAMED, max_tokens=60),
    "tool_choice required": lambda: chat(messages=TRUCK, tools=[TOOL], tool_choice="required", max_tokens=60),
    "tool_choice required, stream": lambda: streamed(messages=TRUCK, tools=[TOOL], tool_choice="required", max_tokens=60),
    "json_schema": lambda: chat(response_format=SCHEMA, max_tokens=30),
    "json_schema, stream": lambda: streamed(response_format=SCHEMA, max_tokens=30),
    "json_schema, parsed": lambda: plain(
        client.chat.completions.parse(**SAME, messages=QUESTION, max_tokens=60, response_format=Colour).choices[0].message.parsed),
    "completions": lambda: plain(client.completions.create(**SAME, prompt="One, two,", max_tokens=6)),
    "completions, stream": lambda: chunks(client.completions.create(**SAME, prompt="One, two,", max_tokens=6, stream=True)),
    "responses": lambda: plain(client.responses.create(model=MODEL, temperature=0, input="Name a colour.", max_output_tokens=16)),
    "responses, stream": lambda: plain(list(
        client.responses.create(model=MODEL, temperature=0, input="Name a colour.", max_output_tokens=16, stream=True))),
    "embeddings": lambda: plain(client.embeddings.create(model=MODEL, input="a red car")),
    "embeddings, list": lambda: plain(client.embeddings.create(model=MODEL, input=["a car", "ein Auto 🚗"], encoding_format="float")),
    "error: unknown model": lambda: failed(lambda: client.chat.completions.create(model="no-such-model", messages=QUESTION, max_tokens=1)),
    "error: wrong key": lambda: failed(stranger),
    "error: malformed body": lambda: failed(malformed),
    "error: not JSON": lambda: failed(not_json),
    "error: unknown path": lambda: failed(lambda: client.get("/no-such-path", cast_to=object)),
}
LANGCHAIN = {
    "invoke": lambda: message(llm().invoke("Name three colours.")),
    "stream": lambda: [message(piece) for piece in llm(stream_usage=True).stream("Name three colours.")],
    "tools": lambda: message(llm(max_tokens=60).bind_tools([TOOL], tool_choice="any").invoke(TRUCK)),
    "structured output": lambda: plain(llm(max_tokens=40).with_structured_output(SCHEMA["json_schema"], method="json_schema").invoke("Name a colour.")),
    "embeddings": lambda: OpenAIEmbeddings(base_url=URL, api_key=KEY, model=MODEL, check_embedding_ctx_length=False).embed_query("a car"),
}


def outcome(case):
    try:
        return case()
    except Exception as error:  # an exception is a result, too: it is compared
        return {"raised": type(error).__name__, "status": getattr(error, "status_code", None), "detail": str(error)[:300]}


if __name__ == "__main__":
    results = {}
    for library, cases in (("openai (Python)", OPENAI), ("LangChain", LANGCHAIN)):
        for name, case in cases.items():
            results[f"{library} | {name}"] = outcome(case)
    json.dump(results, sys.stdout)
