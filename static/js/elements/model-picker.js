// <model-picker>: a list of models in a menu that can be searched; arrows move in it, Enter takes, Esc closes.

class ModelPicker extends HTMLElement {
  connectedCallback() {
    this.menu = this.querySelector("details")
    this.search = this.querySelector("input")
    this.menu.addEventListener("toggle", this)
    this.addEventListener("input", this)
    this.addEventListener("keydown", this)
  }

  handleEvent(event) {
    if (event.type === "input") this.filter()
    else if (event.type === "keydown") this.key(event)
    else if (this.menu.open) {
      this.search.value = ""
      this.filter()
      this.search.focus()
    }
  }

  get shown() {
    return [...this.querySelectorAll("li:not([hidden]) > a")]
  }

  filter() {
    const wanted = this.search.value.trim().toLowerCase().split(/\s+/)
    for (const row of this.querySelectorAll("li")) row.hidden = !wanted.every(word => row.textContent.toLowerCase().includes(word))
    this.querySelector("[data-none]").hidden = this.shown.length > 0
  }

  key(event) {
    const shown = this.shown, at = shown.indexOf(document.activeElement)
    if (event.key === "ArrowDown" && this.menu.open) shown[Math.min(at + 1, shown.length - 1)]?.focus()
    else if (event.key === "ArrowUp" && at >= 0) (shown[at - 1] ?? this.search).focus()
    else if (event.key === "Enter" && event.target === this.search) shown[0]?.click()
    else return
    event.preventDefault()
  }
}

customElements.define("model-picker", ModelPicker)
