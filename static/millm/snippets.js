/* A chat request of this server as others send it: as a command, and in Python. The key stays in $MILLM_API_KEY.
 * And the way to the clipboard. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const ARGUMENTS = 4; // spaces before an argument of Python's

  /* The body goes in by a quoted here-document: the shell reads nothing in it, however long it is. No line of indented
   * JSON is the word that ends it. */
  millm.asCurl = (body, origin) =>
    [
      `curl '${origin}/v1/chat/completions' \\`,
      `  -H "Authorization: Bearer $MILLM_API_KEY" \\`,
      `  -H 'Content-Type: application/json' \\`,
      `  --data-binary @- <<'JSON'`,
      JSON.stringify(body, null, 2),
      "JSON",
      "",
    ].join("\n");

  /* JSON of texts, numbers, lists and objects is Python too. */
  const literal = (value) => JSON.stringify(value, null, 4).replaceAll("\n", `\n${" ".repeat(ARGUMENTS)}`);

  millm.asPython = (body, origin) => {
    const { steering, ...known } = body; // what the client does not know goes into extra_body
    const named = Object.entries(steering ? { ...known, extra_body: { steering } } : known);
    return [
      "import os",
      "",
      "from openai import OpenAI",
      "",
      `client = OpenAI(base_url=${literal(`${origin}/v1`)}, api_key=os.environ["MILLM_API_KEY"])`,
      "completion = client.chat.completions.create(",
      ...named.map(([name, value]) => `${" ".repeat(ARGUMENTS)}${name}=${literal(value)},`),
      ")",
      "print(completion.choices[0].message.content)",
      "",
    ].join("\n");
  };

  millm.copyText = async (text) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea"); // without HTTPS a browser has no clipboard to write to
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  };
})(window.millm);
