/* A chat request as a curl command and as Python, with the key in $MILLM_API_KEY; and copying to the clipboard. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const ARGUMENTS = 4; // spaces before an argument in Python

  /* The body is a quoted here-document, so that the shell expands nothing in it. No line of indented JSON can equal the
   * word that ends it. */
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

  /* JSON of strings, numbers, lists and objects is valid Python. */
  const literal = (value) => JSON.stringify(value, null, 4).replaceAll("\n", `\n${" ".repeat(ARGUMENTS)}`);

  millm.asPython = (body, origin) => {
    const { steering, intensity, ...known } = body; // the client takes unknown fields in extra_body
    const unknown = { ...(steering && { steering }), ...(intensity !== undefined && { intensity }) };
    const named = Object.entries(Object.keys(unknown).length ? { ...known, extra_body: unknown } : known);
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
    const area = document.createElement("textarea"); // without HTTPS, browsers have no clipboard API
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  };
})(window.millm);
