/* Chat completions of this server, for the pages of the admin.
 *
 * millm.streamChat(body, { signal }) is an async generator. It yields, in order,
 *   { headers: Headers, ms }                 when the answer begins; ms since the request was sent
 *   { text, reasoning, calls, finish_reason, index, logprobs, fingerprint, ms }   for each chunk: what it adds to the
 *                                            content, the reasoning and the calls (OpenAI's deltas), the `index` of its
 *                                            choice, a list of OpenAI's entries or null, the system_fingerprint
 *   { usage: { prompt_tokens, completion_tokens, total_tokens }, ms }   before the end
 * and throws millm.ChatError (message, status, code) on any error, also in mid-stream.
 * Aborting `signal` ends it with an AbortError; leaving the loop ends it too. The server then stops generating.
 *
 * millm.steeredBy(headers) is the answer's steering: { profile: its name or "", steering: its fingerprint or "none",
 * profiles: the header X-miLLM-Steering-Profile }.
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  millm.ChatError = class extends Error {
    constructor(message, status, code) {
      super(message);
      this.status = status;
      this.code = code;
    }
  };

  async function refusal(response) {
    const text = await response.text();
    let error = null;
    try {
      error = JSON.parse(text).error;
    } catch {
      /* not OpenAI's error, but a page, such as one of a proxy */
    }
    if (error) return new millm.ChatError(error.message, response.status, error.code);
    return new millm.ChatError(`The server answered ${response.status}.`, response.status, null);
  }

  /* The result of `promise`; a lost connection is thrown as a ChatError. */
  async function reached(promise, message) {
    try {
      return await promise;
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new millm.ChatError(message, 0, "connection_lost");
    }
  }

  /* The data of each server-sent event. https://html.spec.whatwg.org/multipage/server-sent-events.html */
  async function* events(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let buffer = "";
    let done = false;
    try {
      for (;;) {
        const read = await reached(reader.read(), "The answer ended early: the connection was lost.");
        done = read.done;
        if (done) return;
        buffer += read.value;
        const parts = buffer.split("\n\n");
        buffer = parts.pop();
        for (const part of parts) {
          if (part.startsWith("data: ")) yield part.slice("data: ".length);
        }
      }
    } finally {
      if (!done) reader.cancel().catch(() => {}); // the stream is broken, or nobody reads it any more
    }
  }

  millm.streamChat = async function* (body, { signal } = {}) {
    const sent = performance.now();
    const elapsed = () => performance.now() - sent;
    const asked = fetch("/admin/chat/completions", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRFToken": millm.csrfToken() },
      body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
      signal,
    });
    const response = await reached(asked, "The server cannot be reached: is it running?");
    if (!response.ok || response.redirected) throw await refusal(response);
    yield { headers: response.headers, ms: elapsed() };
    let isDone = false;
    for await (const data of events(response)) {
      isDone = isDone || data === "[DONE]";
      if (isDone) continue; // to the end of the stream: browsers log one that is left early as a failed request
      const chunk = JSON.parse(data);
      if (chunk.error) throw new millm.ChatError(chunk.error.message, 200, chunk.error.code);
      if (chunk.usage) yield { usage: chunk.usage, ms: elapsed() };
      for (const choice of chunk.choices || []) {
        const { index, delta, finish_reason } = choice;
        const logprobs = choice.logprobs?.content ?? null;
        const fingerprint = chunk.system_fingerprint;
        const said = {
          text: delta.content || "",
          reasoning: delta.reasoning_content || "",
          calls: delta.tool_calls || [],
        };
        yield { ...said, finish_reason, index, logprobs, fingerprint, ms: elapsed() };
      }
    }
    if (!isDone) throw new millm.ChatError("The answer ended early: the connection was lost.", 200, "connection_lost");
  };

  millm.steeredBy = (headers) => ({
    profile: decodeURIComponent(headers.get("X-miLLM-Profile") || ""),
    steering: headers.get("X-miLLM-Steering") || "",
    profiles: headers.get("X-miLLM-Steering-Profile") || "",
  });
})(window.millm);
