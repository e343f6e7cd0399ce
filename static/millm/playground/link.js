/* A link that restores panes, settings and prompt. They are in its fragment, which browsers do not send to a server:
 * the document of state.js without turns, as JSON, deflated (zlib, with a checksum), as base64url.
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const KEY = "#state=";
  const MAX_CHARACTERS = 8000; // programs that pass links on cut longer ones

  const piped = (bytes, through) => new Response(new Blob([bytes]).stream().pipeThrough(through));

  async function packed(value) {
    const bytes = new TextEncoder().encode(JSON.stringify(value));
    const deflated = new Uint8Array(await piped(bytes, new CompressionStream("deflate")).arrayBuffer());
    const text = Array.from(deflated, (byte) => String.fromCharCode(byte)).join("");
    return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  }

  async function unpacked(text) {
    try {
      const deflated = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
      const bytes = Uint8Array.from(deflated, (character) => character.charCodeAt(0));
      return JSON.parse(await piped(bytes, new DecompressionStream("deflate")).text());
    } catch {
      throw new millm.StateError("the link", text, "a whole link as “Copy link” makes it");
    }
  }

  const tooLong = (length) =>
    `${length.toLocaleString("en")} characters, expected at most ${MAX_CHARACTERS.toLocaleString("en")}`;

  millm.playgroundLink = (defaults) => ({
    async copyLink() {
      const { turns, showsSettings, ...document } = millm.writtenPlayground(this, false);
      const draft = this.draft.trim() ? this.draft : (this.turns.at(-1)?.text ?? "");
      const link = `${location.origin}${location.pathname}${KEY}${await packed({ ...document, draft })}`;
      if (link.length > MAX_CHARACTERS) {
        this.refusal = `The link would be too long: ${tooLong(link.length)}. Download the conversation instead.`;
        return;
      }
      this.refusal = "";
      await millm.copyText(link);
      Object.assign(this, { status: "The link is copied.", copied: "link" });
      setTimeout(() => (this.copied = ""), 2000);
    },

    /* Restore what the address has in its fragment, and take it off: a reload keeps what is changed then. */
    async followFragment() {
      if (!location.hash.startsWith(KEY)) return;
      const [{ hash, href }, text] = [location, location.hash.slice(KEY.length)];
      history.replaceState(null, "", href.slice(0, -hash.length));
      try {
        if (href.length > MAX_CHARACTERS) throw new millm.StateError("the link", href, tooLong(href.length));
        const state = millm.readPlayground(await unpacked(text), defaults, millm.strictly);
        this.restore({ ...state, turns: [] }, "The panes, the settings and the message of the link are restored.");
      } catch (error) {
        if (!(error instanceof millm.StateError)) throw error;
        this.refusal = `The link was not followed. ${error.message}.`;
      }
    },
  });
})(window.millm);
