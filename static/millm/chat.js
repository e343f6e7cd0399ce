/* Chat completions of this server, for the pages of the admin.
 *
 * millm.streamChat(body, { signal }) is an async generator. It yields, in order,
 *   { headers: Headers, ms }                 when the answer begins; ms since the request was sent
 *   { text, finish_reason, ms, chunk }       for each chunk of choice 0
 *   { usage: { prompt_tokens, completion_tokens, total_tokens }, ms }   before the end
 * and throws millm.ChatError (message in plain words, status, code) for whatever goes wrong, also in mid-stream.
 * Aborting `signal` ends it by an AbortError, and the server stops generating.
 */
window.millm = window.millm || {};

(function (millm) {
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
      /* Django's own page, not OpenAI's error */
    }
    if (error) return new millm.ChatError(error.message, response.status, error.code);
    const told = response.status === 403 ? "Your session has ended: reload the page." : `The server answered ${response.status}.`;
    return new millm.ChatError(told, response.status, null);
  }

  /* The data of each server-sent event. https://html.spec.whatwg.org/multipage/server-sent-events.html */
  async function* events(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let buffer = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      buffer += value;
      const parts = buffer.split("\n\n");
      buffer = parts.pop();
      for (const part of parts) {
        if (part.startsWith("data: ")) yield part.slice("data: ".length);
      }
    }
  }

  millm.streamChat = async function* (body, { signal } = {}) {
    const sent = performance.now();
    const elapsed = () => performance.now() - sent;
    const response = await fetch("/admin/chat/completions", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRFToken": millm.csrfToken() },
      body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
      signal,
    });
    if (!response.ok || response.redirected) throw await refusal(response);
    yield { headers: response.headers, ms: elapsed() };
    let ended = false;
    for await (const data of events(response)) {
      if (data === "[DONE]") {
        ended = true;
        break;
      }
      const chunk = JSON.parse(data);
      if (chunk.error) throw new millm.ChatError(chunk.error.message, 200, chunk.error.code);
      if (chunk.usage) yield { usage: chunk.usage, ms: elapsed() };
      for (const choice of chunk.choices || []) {
        yield { text: choice.delta.content || "", finish_reason: choice.finish_reason, ms: elapsed(), chunk };
      }
    }
    if (!ended) throw new millm.ChatError("The answer ended early: the connection was lost.", 200, "connection_lost");
  };
})(window.millm);
