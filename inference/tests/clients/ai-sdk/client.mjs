// The Vercel AI SDK: text, stream, object, tools, embeddings, errors.
import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, embedMany, generateObject, generateText, streamText, tool } from "ai";
import { z } from "zod";

const millm = createOpenAICompatible({
  name: "millm",
  baseURL: process.env.MILLM_URL,
  apiKey: process.env.MILLM_KEY,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const ask = { model: millm("demo:ocean"), prompt: "Tell me something.", seed: 3, maxRetries: 0 };

const { text, usage, finishReason } = await generateText(ask);
assert.equal(finishReason, "stop");
assert.ok(usage.totalTokens > 0);

const stream = streamText({
  ...ask,
  onError: ({ error }) => {
    throw error;
  },
});
let streamed = "";
for await (const delta of stream.textStream) streamed += delta;
assert.equal(streamed, text);
assert.equal((await stream.usage).totalTokens, usage.totalTokens);

const schema = z.object({ mood: z.enum(["calm", "wild"]), loud: z.boolean() });
const { object } = await generateObject({ ...ask, schema });
assert.ok(["calm", "wild"].includes(object.mood));

const sing = tool({ inputSchema: z.object({ loud: z.boolean() }) });
const calls = { ...ask, model: millm("demo"), tools: { sing }, toolChoice: "required" };
const { toolCalls } = await generateText(calls);
assert.equal(toolCalls[0].toolName, "sing");
assert.equal(typeof toolCalls[0].input.loud, "boolean");
assert.deepEqual((await streamText(calls).toolCalls)[0].input, toolCalls[0].input);

const { embeddings } = await embedMany({ model: millm.embeddingModel("demo"), values: ["a", "b"] });
assert.equal(embeddings.length, 2);

await assert.rejects(
  generateText({ ...ask, model: millm("nobody") }),
  (error) => APICallError.isInstance(error) && error.statusCode === 404 && !error.isRetryable,
);
console.log(text);
