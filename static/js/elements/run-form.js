// <run-form>: changing the recipe changes the settings that nobody touched; the estimate follows the epochs.

import { duration, sentence } from "lib/words";

/** An estimate is not exact to the second. */
const roughly = (seconds) => duration(seconds < 60 ? Math.max(5, Math.round(seconds / 5) * 5) : Math.round(seconds / 60) * 60);

class RunForm extends HTMLElement {
  connectedCallback() {
    this.addEventListener("input", this.#changed);
    this.#show();
  }

  disconnectedCallback() {
    this.removeEventListener("input", this.#changed);
  }

  get method() {
    return this.querySelector("[name=method]:checked")?.value;
  }

  #changed = ({ target }) => {
    if (target.matches("[data-reload]")) return this.#reload();
    if (target.name === "method") this.#fill();
    else target.dataset.touched = "yes";
    return this.#show();
  };

  /** Another version or base: labels, limits and estimates are the server's to say. */
  #reload() {
    const chosen = new URLSearchParams();
    for (const name of ["version", "base", "method"]) chosen.set(name, this.querySelector(`[name=${name}]${name === "method" ? ":checked" : ""}`).value);
    location.search = chosen;
  }

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
