// <shell-keys>: shortcuts of one key or two, and the dialog that lists them. They can be switched off (WCAG 2.1.4), and never
// work where somebody writes, or with a key that belongs to the browser.

const WRITES = "input, textarea, select, [contenteditable], dialog[open]:not(:has([data-on])), [role=textbox]"
const PATIENCE = 1200 // ms between two keys of a pair

class ShellKeys extends HTMLElement {
  connectedCallback() {
    this.dialog = this.querySelector("dialog")
    this.switch = this.querySelector("[data-on]")
    this.switch.checked = this.isOn
    document.addEventListener("keydown", this)
    document.addEventListener("click", this)
    this.switch.addEventListener("change", this)
  }

  disconnectedCallback() {
    document.removeEventListener("keydown", this)
    document.removeEventListener("click", this)
  }

  get isOn() {
    try {
      return localStorage.getItem("keys") !== "off"
    } catch {
      return true
    }
  }

  handleEvent(event) {
    if (event.type === "change") this.remember()
    else if (event.type === "click") event.target.closest("[data-keys]") && this.show()
    else this.key(event)
  }

  remember() {
    try {
      localStorage.setItem("keys", this.switch.checked ? "on" : "off")
    } catch {
      // not remembered, nothing else is lost
    }
  }

  show() {
    if (!this.dialog.open) this.dialog.showModal()
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !this.isOn || event.target.closest(WRITES)) return
    const pair = this.before && Date.now() - this.at < PATIENCE ? `${this.before} ${event.key}` : event.key
    this.before = event.key
    this.at = Date.now()
    const found = [...this.querySelectorAll("[data-key]")].find(each => each.dataset.key === pair || each.dataset.key === event.key)
    if (!found) return
    const search = document.querySelector("main [data-search], main input[type=search]:not([hidden])")
    if (found.dataset.key === "/" && !search) return
    event.preventDefault()
    this.before = null
    if (found.dataset.to) location.assign(found.dataset.to)
    else if (found.dataset.key === "/") search.focus()
    else this.show()
  }
}

customElements.define("shell-keys", ShellKeys)
