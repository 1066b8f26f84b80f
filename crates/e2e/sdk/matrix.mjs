// One run of the cases with the official `openai` package for Node and with the Vercel AI SDK, against one server.
// Environment: BASE_URL (with its /v1), API_KEY, MODEL. Prints one JSON object: the result of each case, as plain data, without what
// differs from run to run (ids, times).

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, generateObject, generateText, streamText, tool } from "ai";
import OpenAI from "openai";
import { z } from "zod";

const { BASE_URL: baseURL, API_KEY: apiKey, MODEL: model } = process.env;
// With the package's own retries: llama.cpp closes kept connections without a word, and Node may just be using one again.
const client = new OpenAI({ baseURL, apiKey });
const QUESTION = [{ role: "user", content: "Name three colours." }];
const TALK = [
  { role: "system", content: "You answer briefly." },
  { role: "user", content: "My name is Zoë 🚗." },
  { role: "assistant", content: "Hello Zoë 🚗!" },
  { role: "user", content: "What is my name?" },
];
// The small model repeats the calls of its earlier answers.
const CALL = { id: "call_1", type: "function", function: { name: "read_codes", arguments: '{"vin": "1TPA"}' } };
const CALLED = [
  { role: "user", content: "Read the codes of vehicle 1TPA." },
  { role: "assistant", content: "", tool_calls: [CALL] },
  { role: "tool", tool_call_id: "call_1", content: "P0420" },
];
const TRUCK = [...CALLED, ...CALLED, { role: "user", content: "Read the codes of vehicle 1TPX." }];
const TOOLS = [{
  type: "function",
  function: {
    name: "read_codes",
    description: "Reads the trouble codes of a vehicle.",
    parameters: { type: "object", properties: { vin: { type: "string" } }, required: ["vin"] },
  },
}];
const SCHEMA = {
  type: "json_schema",
  json_schema: {
    name: "colour",
    strict: true,
    schema: {
      type: "object",
      properties: { name: { type: "string", enum: ["red", "blue"] }, red: { type: "integer", maximum: 9 } },
      required: ["name", "red"],
      additionalProperties: false,
    },
  },
};

const VARYING = new Set(["id", "created", "created_at", "completed_at", "item_id", "call_id", "response_id", "toolCallId"]);

/** Plain data without what differs between two runs. */
function plain(value, name = "") {
  if (VARYING.has(name) && (value === null || typeof value !== "object")) return typeof value;
  if (name === "timings") return Object.keys(value).sort();
  if (typeof value === "number") return Math.round(value * 1e4) / 1e4;
  if (Array.isArray(value)) return value.map((part) => plain(part));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).filter(([key]) => !key.startsWith("_")).map(([key, part]) => [key, plain(part, key)]));
  }
  return value;
}

const same = { model, temperature: 0, seed: 7, max_tokens: 12, messages: QUESTION };
const chat = async (more) => plain(await client.chat.completions.create({ ...same, ...more }));
async function chunks(stream) {
  const all = [];
  for await (const chunk of await stream) all.push(chunk);
  return { one_id: new Set(all.map((chunk) => chunk.id)).size === 1, chunks: plain(all) };
}
const streamed = (more) => chunks(client.chat.completions.create({ ...same, ...more, stream: true }));

/** The class of the exception, which an application tests, and its status. */
async function failed(call) {
  try {
    await call();
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    return { raises: error.constructor.name, status: error.status, message: Boolean(error.error?.message) };
  }
  return { raises: null };
}

async function leftEarly() {
  const stream = await client.chat.completions.create({ ...same, max_tokens: 200, stream: true });
  let count = 0;
  for await (const _ of stream) if (++count === 3) break;
  return chat({ max_tokens: 2 });
}

async function helper() {
  const stream = client.chat.completions.stream({ ...same, stop: "," });
  const kinds = [];
  for await (const chunk of stream) kinds.push(Object.keys(chunk.choices[0]?.delta ?? {}));
  return { kinds, final: plain(await stream.finalChatCompletion()) };
}

const OPENAI = {
  models: async () => (await client.models.list()).data.map(({ id, object }) => ({ id, object })),
  chat: () => chat(),
  "chat, several turns": () => chat({ messages: TALK }),
  "chat, unknown fields": () => chat({ min_p: 0.05, x_unknown: { deep: [1, 2.5, null] } }),
  "chat, two choices": () => chat({ n: 2, max_tokens: 3 }),
  stream: () => streamed(),
  "stream, include_usage": () => streamed({ stream_options: { include_usage: true } }),
  "stream, include_usage false": () => streamed({ stream_options: { include_usage: false } }),
  "stream, several turns": () => streamed({ messages: TALK }),
  "stream helper": helper,
  "stream left early": leftEarly,
  max_tokens: () => chat({ max_tokens: 1 }),
  max_completion_tokens: () => chat({ max_tokens: undefined, max_completion_tokens: 2 }),
  stop: () => chat({ stop: [",", "\n"] }),
  "stop, stream": () => streamed({ stop: "," }),
  logprobs: () => chat({ logprobs: true, top_logprobs: 3, max_tokens: 3 }),
  "logprobs, stream": () => streamed({ logprobs: true, top_logprobs: 2, max_tokens: 3 }),
  tools: () => chat({ messages: TRUCK, tools: TOOLS, max_tokens: 60 }),
  "tool_choice none": () => chat({ messages: TRUCK, tools: TOOLS, tool_choice: "none" }),
  "tool_choice named": () => chat({ messages: TRUCK, tools: TOOLS, tool_choice: { type: "function", function: { name: "read_codes" } }, max_tokens: 60 }),
  "tool_choice required": () => chat({ messages: TRUCK, tools: TOOLS, tool_choice: "required", max_tokens: 60 }),
  "tool_choice required, stream": () => streamed({ messages: TRUCK, tools: TOOLS, tool_choice: "required", max_tokens: 60 }),
  json_schema: () => chat({ response_format: SCHEMA, max_tokens: 30 }),
  "json_schema, stream": () => streamed({ response_format: SCHEMA, max_tokens: 30 }),
  completions: async () => plain(await client.completions.create({ model, temperature: 0, seed: 7, prompt: "One, two,", max_tokens: 6 })),
  "completions, stream": () => chunks(client.completions.create({ model, temperature: 0, seed: 7, prompt: "One, two,", max_tokens: 6, stream: true })),
  responses: async () => plain(await client.responses.create({ model, temperature: 0, input: "Name a colour.", max_output_tokens: 16 })),
  "responses, stream": async () => {
    const all = [];
    for await (const event of await client.responses.create({ model, temperature: 0, input: "Name a colour.", max_output_tokens: 16, stream: true })) all.push(event);
    return plain(all);
  },
  embeddings: async () => plain(await client.embeddings.create({ model, input: "a red car" })),
  "embeddings, list": async () => plain(await client.embeddings.create({ model, input: ["a car", "ein Auto 🚗"], encoding_format: "float" })),
  "error: unknown model": () => failed(() => chat({ model: "no-such-model", max_tokens: 1 })),
  "error: wrong key": () => failed(() => new OpenAI({ baseURL, apiKey: "tp_wrong", maxRetries: 0 }).chat.completions.create(same)),
  "error: malformed body": () => failed(() => chat({ messages: "not a list" })),
  "error: unknown path": () => failed(() => client.get("/no-such-path")),
};

const provider = createOpenAICompatible({ name: "server", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true });
const ask = { model: provider(model), temperature: 0, seed: 7, maxOutputTokens: 12, maxRetries: 0, prompt: "Name three colours." };
const tools = { read_codes: tool({ description: "Reads the trouble codes of a vehicle.", inputSchema: z.object({ vin: z.string() }) }) };
const VERCEL = {
  generateText: async () => {
    const { text, usage, finishReason } = await generateText(ask);
    return plain({ text, usage, finishReason });
  },
  streamText: async () => {
    const result = streamText(ask);
    const pieces = [];
    for await (const piece of result.textStream) pieces.push(piece);
    return plain({ pieces, usage: await result.usage, finishReason: await result.finishReason });
  },
  tools: async () => {
    const call = { toolCallId: "call_1", toolName: "read_codes" };
    const called = [
      TRUCK[0],
      { role: "assistant", content: [{ type: "tool-call", ...call, input: { vin: "1TPA" } }] },
      { role: "tool", content: [{ type: "tool-result", ...call, output: { type: "text", value: "P0420" } }] },
    ];
    const messages = [...called, ...called, TRUCK.at(-1)];
    const { toolCalls, finishReason } = await generateText({ ...ask, maxOutputTokens: 60, prompt: undefined, messages, tools, toolChoice: "required" });
    return plain({ calls: toolCalls.map(({ toolName, input }) => ({ toolName, input })), finishReason });
  },
  generateObject: async () => {
    const schema = z.object({ name: z.enum(["red", "blue"]), warm: z.boolean() });
    return plain((await generateObject({ ...ask, maxOutputTokens: 40, schema })).object);
  },
  embed: async () => plain((await embed({ model: provider.embeddingModel(model), value: "a car", maxRetries: 0 })).embedding),
};

const results = {};
for (const [library, cases] of [["openai (Node)", OPENAI], ["Vercel AI SDK", VERCEL]]) {
  for (const [name, run] of Object.entries(cases)) {
    // An exception is a result, too: it is compared.
    results[`${library} | ${name}`] = await run().catch((error) => ({ raised: error.constructor.name, status: error.status ?? error.statusCode, detail: String(error).slice(0, 300) }));
  }
}
process.stdout.write(JSON.stringify(results));
