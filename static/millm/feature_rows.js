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
        ["mode", "Mode of feature"],
        ["box", "Strength of feature"],
        ["remove", "Remove feature"],
      ]) {
        parts[part]?.setAttribute("aria-label", `${name} ${index}`);
        parts[part]?.setAttribute("aria-describedby", parts.error.id);
      }
      return Object.assign(element, { parts, painted: "" });
    }

    /* Paint the bar from what changes nothing to the strength. The range is set before the value, which it clamps. */
    function paintSlider(slider, strength, [min, max], neutral) {
      if (slider.matches("input")) {
        Object.assign(slider, { min, max, step: (max - min) / 200 });
        slider.value = strength;
      }
      const at = (value) => 100 * Math.max(0, Math.min(1, (value - min) / (max - min)));
      slider.style.setProperty("--zero", `${at(neutral)}%`);
      slider.style.setProperty("--from", `${at(Math.min(neutral, strength))}%`);
      slider.style.setProperty("--to", `${at(Math.max(neutral, strength))}%`);
    }

    function paintMode({ mode: part, slider, box }, row) {
      if (part.matches("select")) part.value = row.mode;
      else part.textContent = row.mode;
      const isAblated = row.mode === "ablate";
      slider.hidden = isAblated;
      if (box) box.hidden = isAblated;
    }

    /* A slider stays at the last valid strength, which still steers on the page of the live steering. */
    function paint(element, row, label, error, bounds, url, warning, most, neutral) {
      const { parts } = element;
      const { text } = row;
      paintMode(parts, row);
      const strength = millm.parseNumber(text);
      if (Math.abs(strength) <= most) element.kept = strength;
      parts.label.textContent = parts.label.title = label;
      if (url) parts.index.href = url;
      else parts.index.removeAttribute("href");
      paintSlider(parts.slider, element.kept || 0, bounds, neutral ?? 0);
      parts.slider.setAttribute("aria-valuetext", element.kept === strength ? text : String(element.kept ?? "")); // the slider's own value is rounded to its steps
      if (!parts.box) parts.strength.textContent = millm.valueInWords(row);
      else if (parts.box.value !== text) parts.box.value = text;
      parts.box?.setAttribute("aria-invalid", Boolean(error));
      parts.error.textContent = error || warning;
      parts.error.className = error ? "features-error" : strength === neutral ? "features-hint" : "features-warning";
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
        const { rows, labels } = this;
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
          const shown = [
            labels[row.index] || "",
            error(row),
            this.bounds(row),
            this.pageUrl(row.index),
            this.warning(row),
          ];
          const painted = String([row.text, row.mode, row.weight, ...shown]);
          if (painted !== element.painted) {
            element.painted = painted;
            paint(element, row, ...shown, this.options.max_strength, this.neutral(row));
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
        if (target.matches("[data-part=mode]")) {
          if (committed) this.setMode(row, target.value);
          return;
        }
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
