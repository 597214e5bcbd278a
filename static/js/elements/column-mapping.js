// <column-mapping>: one column for each role; once the mapping differs from what was counted, no number is promised and
// rows that cannot be used are not accepted unseen. The button that switches the task shows once another one is chosen.
class ColumnMapping extends HTMLElement {
  connectedCallback() {
    this.addEventListener("change", this)
    this.offerSwitch()
  }

  handleEvent({ target }) {
    if (target.matches("[name^=label-]")) return this.forget()
    if (target.matches("[data-task]")) return this.offerSwitch()
    if (!target.matches("[data-role], [data-template]")) return
    for (const other of this.querySelectorAll("[data-role]")) {
      if (target.matches("[data-role]") && other !== target && target.value && other.value === target.value) other.value = ""
      other.closest("th").classList.toggle("chosen", other.value !== "")
    }
    this.querySelector("[data-accept]").disabled = true
    this.forget()
  }

  offerSwitch() {
    const task = this.querySelector("[data-task]")
    const button = this.querySelector("[data-switch]")
    if (button) button.hidden = task.selectedOptions[0].defaultSelected
  }

  forget() {
    const create = this.querySelector("[data-create]")
    create.textContent = create.dataset.plain
    this.querySelector("[data-counted]")?.remove()
  }
}
customElements.define("column-mapping", ColumnMapping)
