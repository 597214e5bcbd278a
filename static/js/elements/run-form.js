// <run-form>: changing the recipe changes the settings that nobody touched; the estimate follows the epochs. Another
// version or base is asked of the server by htmx, which draws the form anew: what was touched goes along.

import { duration, sentence } from "lib/words";

/** An estimate is not exact to the second. */
const roughly = (seconds) => duration(seconds < 60 ? Math.max(5, Math.round(seconds / 5) * 5) : Math.round(seconds / 60) * 60);

class RunForm extends HTMLElement {
  connectedCallback() {
    this.addEventListener("input", this.#changed);
    this.addEventListener("htmx:configRequest", this.#carry);
    this.#show();
  }

  disconnectedCallback() {
    this.removeEventListener("input", this.#changed);
    this.removeEventListener("htmx:configRequest", this.#carry);
  }

  get method() {
    return this.querySelector("[name=method]:checked")?.value;
  }

  #changed = ({ target }) => {
    if (target.name === "method") this.#fill();
    target.dataset.touched = "yes";
    return this.#show();
  };

  #carry = ({ detail }) => {
    for (const input of this.querySelectorAll("[name=version], [name=method]:checked, [data-touched]:not(:disabled)")) {
      const value = input.type === "checkbox" ? String(input.checked) : input.value;
      if (input.type !== "radio" || input.checked) detail.parameters[input.name] = value;
    }
  };

  #fill() {
    for (const input of this.querySelectorAll("[data-defaults]")) {
      const value = JSON.parse(input.dataset.defaults)[this.method];
      if (input.dataset.touched || value === undefined) continue;
      if (input.type === "checkbox") input.checked = value;
      else input.value = value ?? "";
    }
  }

  #show() {
    for (const field of this.querySelectorAll("[data-methods]")) {
      const isKnown = !field.dataset.methods || field.dataset.methods.split(" ").includes(this.method);
      field.hidden = !isKnown;
      for (const input of field.querySelectorAll("input, select")) input.disabled = !isKnown;
    }
    const epochs = Number(this.querySelector("[name=epochs]")?.value) || 1;
    for (const place of this.querySelectorAll("[data-epoch-s]"))
      place.textContent = sentence(place.dataset.words, { time: roughly(Number(place.dataset.startS) + epochs * Number(place.dataset.epochS)) });
    const chosen = this.querySelector("[name=method]:checked")?.closest("label")?.querySelector("[data-epoch-s]");
    const total = this.querySelector("[data-estimate]");
    if (total && chosen) total.textContent = chosen.textContent;
  }
}

customElements.define("run-form", RunForm);
