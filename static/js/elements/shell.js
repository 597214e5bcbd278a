// The shell of every page: theme, menus, toasts, copy buttons, answers of htmx that went wrong.
import { setTheme } from "lib/theme"
import { fade, toast } from "lib/toast"
import { csrf } from "lib/csrf"

class ThemeSwitch extends HTMLElement {
  connectedCallback() {
    this.addEventListener("click", this)
  }

  handleEvent(event) {
    const button = event.target.closest("button")
    if (!button) return
    setTheme(button.value)
    for (const each of this.querySelectorAll("button")) each.setAttribute("aria-pressed", each === button)
    this.querySelector("details").open = false
  }
}
customElements.define("theme-switch", ThemeSwitch)

// <copy-button for="id of the text" done="Copied"> around a button
class CopyButton extends HTMLElement {
  connectedCallback() {
    this.addEventListener("click", this)
  }

  async handleEvent() {
    const source = document.getElementById(this.getAttribute("for"))
    const text = "value" in source ? source.value : source.textContent
    try {
      await navigator.clipboard.writeText(text.trim())
      toast(this.getAttribute("done"))
    } catch {
      getSelection().selectAllChildren(source)  // no clipboard without https: select it, the person presses Ctrl+C
    }
  }
}
customElements.define("copy-button", CopyButton)

document.addEventListener("click", event => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false
  event.target.closest("[data-dismiss]")?.closest(".notice").remove()
})
document.addEventListener("keydown", event => {
  if (event.key !== "Escape") return
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false
    menu.querySelector("summary").focus()
  }
})
// Times are said roughly ("3 hours ago"); on hover exactly, in the reader's own zone.
function date(root) {
  for (const time of root.querySelectorAll("time[datetime]:not([title])")) time.title = new Date(time.dateTime).toLocaleString()
}
date(document)
document.addEventListener("htmx:load", event => date(event.detail.elt))

// What was "just now" is "5 minutes ago" after five minutes.
const UNITS = [["year", 31_557_600], ["month", 2_629_800], ["week", 604_800], ["day", 86_400], ["hour", 3_600], ["minute", 60]]
const ago = new Intl.RelativeTimeFormat(document.documentElement.lang || undefined, { numeric: "always" })
setInterval(() => {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const age = (Date.now() - new Date(time.dateTime)) / 1000, unit = UNITS.find(([, seconds]) => age >= seconds)
    if (unit) time.textContent = ago.format(-Math.floor(age / unit[1]), unit[0])
  }
}, 20_000)

// A list is shown anew when one of its choices changes; what says nothing stays out of the address.
document.addEventListener("change", event => {
  if (event.target.matches("[data-sends] select")) event.target.form.requestSubmit()
})
document.addEventListener("submit", event => {
  if (!event.target.matches("[data-sends]")) return
  for (const field of event.target.elements) field.disabled = field.name !== "" && field.value === ""
  setTimeout(() => { for (const field of event.target.elements) field.disabled = false })
})

// Of a row of tabs that is wider than the page, the open one is in sight.
for (const tab of document.querySelectorAll(".tabs > [aria-current]")) tab.scrollIntoView({ block: "nearest", inline: "center" })

for (const line of document.querySelectorAll("[data-toast]:not(.bad)")) fade(line)

document.addEventListener("htmx:configRequest", event => {
  event.detail.headers["X-CSRFToken"] = csrf()
})
document.addEventListener("htmx:responseError", event => {
  const type = event.detail.xhr.getResponseHeader("content-type") || ""
  let text = ""
  if (type.includes("json")) try { text = JSON.parse(event.detail.xhr.responseText).detail } catch { /* said below */ }
  toast(text || document.getElementById("toasts").dataset.failed, "bad")
})
document.addEventListener("htmx:sendError", () => toast(document.getElementById("toasts").dataset.lost, "bad"))
