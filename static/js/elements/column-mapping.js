// <column-mapping>: one column for each role, and no promise about rows once the mapping differs from what was counted.
class ColumnMapping extends HTMLElement {
  connectedCallback() {
    this.addEventListener("change", this)
  }

  handleEvent({ target }) {
    if (!target.matches("[data-role]")) return
    for (const other of this.querySelectorAll("[data-role]")) {
      if (other !== target && target.value && other.value === target.value) other.value = ""
      other.closest("th").classList.toggle("chosen", other.value !== "")
    }
    const create = this.querySelector("[data-create]")
    if (create) create.textContent = create.dataset.plain
  }
}
customElements.define("column-mapping", ColumnMapping)
