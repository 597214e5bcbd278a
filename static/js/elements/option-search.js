// <option-search>: a search above a long <select>. While something is searched the list stands open and holds what matches.

const FROM = 8; // fewer options are seen at a glance

class OptionSearch extends HTMLElement {
  connectedCallback() {
    this.select = this.querySelector("select");
    this.search = this.querySelector("[data-find]");
    this.groups = [...this.select.children].map((group) => [group, [...group.children]]);
    this.search.hidden = this.select.options.length < FROM;
    this.search.addEventListener("input", this);
    this.search.addEventListener("keydown", this);
    this.select.addEventListener("change", this);
  }

  handleEvent(event) {
    if (event.type === "input") this.#filter();
    else if (event.type === "change" || event.key === "Escape") this.#close();
    else if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      this.select.focus();
    }
  }

  /** What is chosen stays chosen, whether it matches or not: to search is not to choose. */
  #filter() {
    const wanted = this.search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = this.select.value;
    let found = 0;
    for (const [group, options] of this.groups) {
      const matching = options.filter((option) => wanted.every((word) => option.textContent.toLowerCase().includes(word)));
      found += matching.length;
      group.replaceChildren(...options.filter((option) => matching.includes(option) || option.value === chosen));
      if (group.children.length) this.select.append(group);
      else group.remove();
    }
    this.select.value = chosen;
    this.querySelector("[data-none]").hidden = found > 0;
    const lines = this.select.options.length + this.select.children.length;
    this.select.size = wanted.length ? Math.min(lines, 10) : 0;
  }

  #close() {
    this.search.value = "";
    this.#filter();
  }
}

customElements.define("option-search", OptionSearch);
