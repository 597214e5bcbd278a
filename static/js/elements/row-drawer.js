// <row-drawer>: opens a row beside the table; the address becomes the row's own, Back closes it again.
class RowDrawer extends HTMLElement {
  connectedCallback() {
    this.drawer = this.querySelector("dialog")
    this.home = location.href
    this.addEventListener("click", this)
    this.drawer.addEventListener("close", this)
    window.addEventListener("popstate", this)
  }

  disconnectedCallback() {
    window.removeEventListener("popstate", this)
  }

  handleEvent(event) {
    if (event.type === "close") return this.isOpen && history.back()
    if (event.type === "popstate") return this.follow()
    const link = event.target.closest("a[data-row]")
    if (event.target.closest("[data-close]") || event.target === this.drawer) return this.drawer.close()
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return
    event.preventDefault()
    this.show(link.href)
  }

  get isOpen() {
    return location.href !== this.home
  }

  follow() {
    if (this.isOpen) this.fetch(location.href)
    else this.drawer.close()
  }

  async show(address) {
    if (!(await this.fetch(address))) return location.assign(address)
    if (this.isOpen) history.replaceState(null, "", address)
    else history.pushState(null, "", address)
  }

  async fetch(address) {
    const answer = await fetch(address, { headers: { "HX-Request": "true" } }).catch(() => null)
    if (!answer?.ok) return false
    const page = new DOMParser().parseFromString(await answer.text(), "text/html")
    for (const close of page.querySelectorAll("[data-close]")) close.hidden = false
    this.drawer.replaceChildren(...page.body.childNodes)
    if (!this.drawer.open) this.drawer.showModal()
    return true
  }
}
customElements.define("row-drawer", RowDrawer)
