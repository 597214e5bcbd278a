// <sample-list>: rows with their answers, turned round by its two buttons: worst first as they come, or best first.

class SampleList extends HTMLElement {
  connectedCallback() {
    this.addEventListener("click", this.#press);
  }

  disconnectedCallback() {
    this.removeEventListener("click", this.#press);
  }

  #press = ({ target }) => {
    const button = target.closest("[data-order]");
    if (!button || button.getAttribute("aria-pressed") === "true") return;
    for (const each of this.querySelectorAll("[data-order]")) each.setAttribute("aria-pressed", each === button);
    const list = this.querySelector("ol");
    list.append(...[...list.children].reverse());
    list.scrollTop = 0;
  };
}

customElements.define("sample-list", SampleList);
