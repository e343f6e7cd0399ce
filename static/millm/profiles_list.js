/* The import page of profiles: it refuses input that is too large for the server before it is sent and lost. */
document.addEventListener("alpine:init", () => {
  "use strict";

  const megabytes = (bytes) => `${(bytes / 1024 / 1024).toFixed(1)} MB`;

  Alpine.data("importForm", () => ({
    problem: "",

    check(event) {
      const limit = Number(this.$el.dataset.limit);
      const text = this.$el.elements.text.value;
      const file = this.$el.elements.file?.files[0];
      const lines = text.split("\n").length - 1; // each end of a line is sent as two bytes
      const size = Math.max(file ? file.size : 0, new Blob([text]).size + lines);
      this.problem = size > limit ? `Got ${megabytes(size)}, expected at most ${megabytes(limit)}: split it.` : "";
      if (this.problem) event.preventDefault();
    },
  }));
});
