/* A chat request as a curl command and as Python, with the key in $MILLM_API_KEY; and copying to the clipboard. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

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

  const indent = (depth) => " ".repeat(4 * depth);

  /* A value of JSON in Python, where it stands in lines that are indented `depth` times. */
  function literal(value, depth = 1) {
    if (value === null) return "None";
    if (typeof value === "boolean") return value ? "True" : "False";
    if (typeof value !== "object") return JSON.stringify(value);
    const isList = Array.isArray(value);
    const [open, close] = isList ? "[]" : "{}";
    const parts = Object.entries(value).map(([name, part]) => {
      const written = literal(part, depth + 1);
      return `${indent(depth + 1)}${isList ? "" : `${JSON.stringify(name)}: `}${written}`;
    });
    return parts.length ? `${open}\n${parts.join(",\n")}\n${indent(depth)}${close}` : open + close;
  }

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
      ...named.map(([name, value]) => `${indent(1)}${name}=${literal(value)},`),
      ")",
      ...(body.tools
        ? ["message = completion.choices[0].message", "print(message.tool_calls or message.content)"]
        : ["print(completion.choices[0].message.content)"]),
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
