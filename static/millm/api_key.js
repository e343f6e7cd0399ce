/* The page of a new API key: its copy buttons. */
document.addEventListener("alpine:init", () => {
  "use strict";

  Alpine.data("copyable", () => ({
    told: "",

    async copy() {
      const source = this.$refs.text;
      if (navigator.clipboard) {
        await navigator.clipboard.writeText(source.textContent);
        this.told = "Copied.";
      } else {
        // Browsers have no clipboard for pages that came over plain HTTP from another machine.
        window.getSelection().selectAllChildren(source);
        this.told = document.execCommand("copy") ? "Copied." : "Selected: press Ctrl+C.";
      }
    },
  }));
});
