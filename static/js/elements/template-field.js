// <template-field>: a template of columns in a text field. A press on a column puts its name where the cursor is, and what the
// template makes of the first row stands below, by the same rule as in webapp/datasets/reading/templates.py.
const FIELD = /\{([^{}]+)\}/g

class TemplateField extends HTMLElement {
  connectedCallback() {
    this.row = JSON.parse(document.getElementById("first-row").textContent)
    this.addEventListener("click", this)
    this.addEventListener("input", this)
  }

  disconnectedCallback() {
    this.removeEventListener("click", this)
    this.removeEventListener("input", this)
  }

  handleEvent({ type, target }) {
    const text = this.querySelector("textarea")
    if (type === "input") return this.show(text.value)
    const name = target.closest("[data-column]")?.dataset.column
    if (!name) return
    text.setRangeText(`${this.gap(text)}{${name}}`, text.selectionStart, text.selectionEnd, "end")
    text.focus()
    text.dispatchEvent(new Event("input", { bubbles: true }))
    text.dispatchEvent(new Event("change", { bubbles: true }))
  }

  gap({ value, selectionStart }) {
    return value.slice(0, selectionStart).endsWith("}") ? "\n\n" : ""
  }

  show(template) {
    const names = [...template.matchAll(FIELD)].map(([, name]) => name)
    const shown = this.querySelector("pre")
    shown.hidden = !names.length || names.some((name) => !Object.hasOwn(this.row, name))
    shown.textContent = shown.hidden || this.lacks(template) ? "" : this.made(template)
  }

  lacks(part) {
    const names = [...part.matchAll(FIELD)].map(([, name]) => name)
    return names.length > 0 && names.every((name) => !this.row[name].trim())
  }

  made(template) {
    const lines = (paragraph) => paragraph.split("\n").filter((line) => !this.lacks(line))
    const paragraphs = template.trim().split(/\n[ \t]*\n\s*/).filter((paragraph) => !this.lacks(paragraph))
    return paragraphs.map((each) => lines(each).join("\n").replace(FIELD, (_, name) => this.row[name])).join("\n\n").trim()
  }
}
customElements.define("template-field", TemplateField)
