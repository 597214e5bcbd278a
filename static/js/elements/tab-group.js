// <tab-group>: buttons role=tab and panels role=tabpanel; the address keeps which one is open.

class TabGroup extends HTMLElement {
  connectedCallback() {
    this.tabs = [...this.querySelectorAll("[role=tab]")];
    this.addEventListener("click", this.#press);
    this.addEventListener("keydown", this.#key);
    const named = this.tabs.find((tab) => `#${tab.dataset.tab}` === location.hash);
    this.open(named ?? this.tabs[0], { isQuiet: true });
  }

  disconnectedCallback() {
    this.removeEventListener("click", this.#press);
    this.removeEventListener("keydown", this.#key);
  }

  open(tab, { isQuiet = false } = {}) {
    for (const each of this.tabs) {
      const isOpen = each === tab;
      each.setAttribute("aria-selected", isOpen);
      each.tabIndex = isOpen ? 0 : -1;
      this.querySelector(`#${each.getAttribute("aria-controls")}`)?.toggleAttribute("hidden", !isOpen);
    }
    if (!isQuiet) history.replaceState(history.state, "", `${location.search}#${tab.dataset.tab}`);
  }

  #press = ({ target }) => {
    const tab = target.closest("[role=tab]");
    if (tab) this.open(tab);
  };

  #key = (event) => {
    const at = this.tabs.indexOf(event.target);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: this.tabs.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const tab = this.tabs.at(to % this.tabs.length);
    tab.focus();
    this.open(tab);
  };
}

customElements.define("tab-group", TabGroup);
