/* The conversation as a file: the document of state.js, with the model and the SAE of the server.
 *
 *   {format: "millm.playground", version: 1, saved_at, model: {name, fingerprint}, sae: {id, fingerprint}, settings, …}
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const FORMAT = "millm.playground";
  const VERSION = 1;
  const MAX_BYTES = 20_000_000;

  const { check, object, text } = millm.stateValues;

  function parsed(written) {
    let found;
    try {
      found = JSON.parse(written);
    } catch (error) {
      throw new millm.StateError("the file", written, `JSON (${error.message})`);
    }
    object("the file", found);
    check(found.format === FORMAT, "format", found.format, `"${FORMAT}"`);
    check(found.version === VERSION, "version", found.version, VERSION);
    return found;
  }

  /* What made the answers of the file: {name, fingerprint}, or null. */
  function maker(found, path, key) {
    if (found[path] === null) return null;
    const { [key]: name, fingerprint } = object(path, found[path]);
    return { name: text(`${path}.${key}`, name), fingerprint: text(`${path}.fingerprint`, fingerprint) };
  }

  const named = (one) => (one ? `${one.name} (${one.fingerprint.slice(0, 12) || "no fingerprint"})` : "none");

  /* A sentence where the file's model or SAE is another than now, else "". */
  function another(word, its, now) {
    if (its?.name === now?.name && its?.fingerprint === now?.fingerprint) return "";
    return ` The ${word} is another one: ${named(its)} in the file, ${named(now)} now.`;
  }

  millm.playgroundFile = (defaults) => ({
    async download() {
      await this.look(); // the model and the SAE as they are now
      const { model, fingerprint, sae } = this.now;
      const { showsSettings, ...document } = millm.writtenPlayground(this, true);
      const file = {
        format: FORMAT,
        version: VERSION,
        saved_at: new Date().toISOString(),
        model: model && { name: model, fingerprint },
        sae: sae && { id: sae.id, fingerprint: sae.fingerprint },
        ...document,
      };
      millm.saveFile(
        `playground-${file.saved_at.slice(0, 19).replace(/[T:]/g, "-")}.json`,
        JSON.stringify(file, null, 2),
      );
      this.status = "The conversation is downloaded.";
    },

    /* Restore the conversation of the chosen file; the one before can be brought back by "Undo". */
    async importFile(input) {
      const [file] = input.files;
      input.value = ""; // the same file can be chosen again
      if (!file) return;
      this.refusal = "";
      try {
        check(file.size <= MAX_BYTES, "the file", file.size, `up to ${MAX_BYTES} bytes`);
        const found = parsed(await file.text());
        const [model, sae] = [maker(found, "model", "name"), maker(found, "sae", "id")];
        const state = millm.readPlayground(found, defaults, millm.strictly);
        await this.look();
        const { now } = this;
        const here = now.model ? { name: now.model, fingerprint: now.fingerprint } : null;
        const attached = now.sae ? { name: now.sae.id, fingerprint: now.sae.fingerprint } : null;
        const differences = another("model", model, here) + another("SAE", sae, attached);
        const warning = differences && `${differences} New answers can differ from those of the file.`;
        this.restore(state, `The conversation of ${file.name} is restored.${warning}`);
      } catch (error) {
        if (!(error instanceof millm.StateError)) throw error;
        this.refusal = `${file.name} was not imported. ${error.message}.`;
      }
    },
  });

  millm.saveFile = (name, written) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([written], { type: "application/json" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  };
})(window.millm);
