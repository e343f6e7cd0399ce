/* The page of a new API key: its copy buttons. */
document.addEventListener("alpine:init", () => {
  "use strict";

  Alpine.data("copyable", () => ({
    status: "",

    async copy() {
      const source = this.$refs.text;
      if (navigator.clipboard) {
        await navigator.clipboard.writeText(source.textContent);
        this.status = "Copied.";
      } else {
        // Browsers give no clipboard to pages over plain HTTP from another machine.
        window.getSelection().selectAllChildren(source);
        this.status = document.execCommand("copy") ? "Copied." : "Selected: press Ctrl+C.";
      }
    },
  }));
});
