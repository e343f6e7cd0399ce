/* The rows of the feature table (features.js). They are no Alpine template, which takes milliseconds for each row. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  millm.featureRows = () => {
    const elements = new Map(); // by index

    function newRow(template, index, id) {
      const element = template.content.firstElementChild.cloneNode(true);
      const parts = Object.fromEntries(
        [...element.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]),
      );
      element.dataset.index = index;
      parts.index.textContent = index;
      parts.index.title = `The page of feature ${index}, in a new tab`;
      parts.error.id = `${id}-error-${index}`;
      for (const [part, name] of [
        ["slider", "Feature"],
        ["box", "Strength of feature"],
        ["remove", "Remove feature"],
      ]) {
        parts[part]?.setAttribute("aria-label", `${name} ${index}`);
        parts[part]?.setAttribute("aria-describedby", parts.error.id);
      }
      return Object.assign(element, { parts, painted: "" });
    }

    /* Paint the bar from zero (in the middle) to the strength. The range is set before the value, which it clamps. */
    function paintSlider(slider, strength, range) {
      if (slider.matches("input")) {
        Object.assign(slider, { min: -range, max: range, step: range / 100 });
        slider.value = strength;
      }
      const share = Math.max(-1, Math.min(1, strength / range));
      slider.style.setProperty("--from", `${50 + 50 * Math.min(0, share)}%`);
      slider.style.setProperty("--to", `${50 + 50 * Math.max(0, share)}%`);
    }

    /* A slider stays at the last valid strength, which still steers on the page of the live steering. */
    function paint(element, { text }, label, error, range, url, most) {
      const { parts } = element;
      const strength = millm.parseNumber(text);
      if (Math.abs(strength) <= most) element.kept = strength;
      parts.label.textContent = parts.label.title = label;
      if (url) parts.index.href = url;
      else parts.index.removeAttribute("href");
      paintSlider(parts.slider, element.kept || 0, range);
      parts.slider.setAttribute("aria-valuetext", element.kept === strength ? text : String(element.kept ?? "")); // the slider's own value is rounded to its steps
      if (!parts.box) parts.strength.textContent = text;
      else if (parts.box.value !== text) parts.box.value = text;
      parts.box?.setAttribute("aria-invalid", Boolean(error));
      parts.error.textContent = error || (strength === 0 ? "0 steers nothing: it is left out when saved" : "");
      parts.error.className = error ? "features-error" : "features-hint";
    }

    return {
      rowElement: (index) => elements.get(index),

      /* The page of a feature; "" where the SAE is not known, or the user may not see it. */
      pageUrl(index) {
        const { page_url: pattern, sae } = this.options;
        return sae && pattern ? pattern.replace("SAE", encodeURIComponent(sae)).replace("INDEX", index) : "";
      },

      /* An Alpine effect: it runs again when a property that it reads changes. */
      paintRows(body, template) {
        const { rows, labels, range } = this;
        const [id, error] = [this.$root.id, this.judge()];
        const wanted = new Set(rows.map((row) => row.index));
        for (const [index, element] of elements) {
          if (wanted.has(index)) continue;
          element.remove();
          elements.delete(index);
        }
        let place = body.firstElementChild;
        for (const row of rows) {
          if (!elements.has(row.index)) elements.set(row.index, newRow(template, row.index, id));
          const element = elements.get(row.index);
          const shown = [row.text, labels[row.index] || "", error(row), range, this.pageUrl(row.index)];
          if (String(shown) !== element.painted) {
            element.painted = String(shown);
            paint(element, row, ...shown.slice(1), this.options.max_strength);
          }
          if (element === place) place = place.nextElementSibling;
          else body.insertBefore(element, place);
        }
      },

      rowOf(target) {
        const index = target.closest("[data-index]")?.dataset.index;
        return this.rows.find((row) => row.index === index);
      },

      typed({ target }, committed) {
        const row = this.rowOf(target);
        this.write(row, target.value, committed, target.type === "range" ? `slider ${row.index}` : "");
      },

      clicked({ target }) {
        if (target.closest("[data-part=remove]")) this.remove(this.rowOf(target));
      },

      keyed(event) {
        if (!event.target.matches("[data-part=box]")) return;
        const steps = { ArrowUp: 1, ArrowDown: -1 }[event.key];
        if (steps) this.nudge(this.rowOf(event.target), steps);
        else if (event.key === "Enter") this.typed(event, true);
        else return;
        event.preventDefault();
      },
    };
  };
})(window.millm);
