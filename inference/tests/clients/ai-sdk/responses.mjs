// The Vercel AI SDK's provider for OpenAI, which uses the Responses API: text, stream, object, tools in two steps.
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, generateObject, generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";

const openai = createOpenAI({ baseURL: process.env.MILLM_URL, apiKey: process.env.MILLM_KEY });
const ask = { model: openai("demo:ocean"), prompt: "Tell me something.", temperature: 0, maxRetries: 0 };

const { text, usage, finishReason, providerMetadata } = await generateText(ask);
assert.equal(finishReason, "stop");
assert.ok(usage.totalTokens > 0);

const onError = ({ error }) => {
  throw error;
};
const stream = streamText({ ...ask, onError });
let streamed = "";
for await (const delta of stream.textStream) streamed += delta;
assert.equal(streamed, text);
assert.equal((await stream.usage).totalTokens, usage.totalTokens);

const schema = z.object({ mood: z.enum(["calm", "wild"]), loud: z.boolean() });
const { object } = await generateObject({ ...ask, schema });
assert.ok(["calm", "wild"].includes(object.mood));

const sing = tool({ inputSchema: z.object({ loud: z.boolean() }), execute: async ({ loud }) => (loud ? "LA" : "la") });
const calls = { ...ask, model: openai("demo"), tools: { sing }, toolChoice: "required", stopWhen: isStepCount(2) };
for (const providerOptions of [{}, { openai: { store: false } }, { openai: { parallelToolCalls: false } }]) {
  const { steps } = await generateText({ ...calls, providerOptions });
  assert.equal(steps.length, 2);
  assert.equal(typeof steps[1].toolCalls[0].input.loud, "boolean");
  const again = await streamText({ ...calls, providerOptions, onError }).steps;
  assert.deepEqual(again[1].toolCalls[0].input, steps[1].toolCalls[0].input);
}
const previousResponseId = providerMetadata.openai.responseId;
const following = await generateText({
  ...ask,
  prompt: "And then?",
  providerOptions: { openai: { previousResponseId } },
});
assert.ok(following.usage.inputTokens > usage.inputTokens);

await assert.rejects(
  generateText({ ...ask, model: openai("nobody") }),
  (error) => APICallError.isInstance(error) && error.statusCode === 404 && !error.isRetryable,
);
console.log(text);
