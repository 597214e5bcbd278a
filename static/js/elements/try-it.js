// <try-it>: a question in the shape of its task, asked of one model or of several beside each other (<model-reply>).
// Everything that a person or a model wrote enters the page as text.
import "lib/model-reply"
import { javascript, python, shell } from "lib/snippets"
import { length, marked } from "lib/spans"
import { sentence } from "lib/words"

const MOST_REPLIES = 4
const WRITERS = { shell, python, javascript }

class TryIt extends HTMLElement {
  connectedCallback() {
    customElements.upgrade(this)  // the replies inside, which htmx brings in after their parent
    this.form = this.querySelector("form")
    for (const type of ["submit", "click", "input", "change", "answered", "scroll"]) this.addEventListener(type, this, type === "scroll")
    this.addEventListener("keydown", this)
    document.addEventListener("keydown", this)
    addEventListener("pagehide", this)
    this.drawer?.toggleAttribute("open", this.isFull && matchMedia("(min-width: 1001px)").matches)
    this.recall()
    this.arrange()
  }

  disconnectedCallback() {
    document.removeEventListener("keydown", this)
    removeEventListener("pagehide", this)
    this.stop()
  }

  handleEvent(event) {
    const { type, target } = event
    if (type === "submit") {
      event.preventDefault()
      this.ask()
    } else if (type === "keydown") {
      if (event.currentTarget === this && event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.ask()
      if (event.currentTarget === document && event.key === "Escape" && this.isBusy && !event.defaultPrevented) this.stop()
    } else if (type === "input") this.edit(target)
    else if (type === "change") this.change(target)
    else if (type === "answered") this.answered(target)
    else if (type === "scroll") this.follow(target)
    else if (type === "pagehide") this.keep()
    else this.press(event)
  }

  press(event) {
    const button = event.target.closest("button, a[data-reply-url]")
    if (!button) return
    const { again, open, replyUrl } = button.dataset
    if (again) this.take(button)
    else if (replyUrl) this.compare(event, button)
    else if ("stop" in button.dataset) this.stop()
    else if ("clear" in button.dataset) this.clear()
    else if ("reset" in button.dataset) this.reset()
    else if ("swap" in button.dataset) this.swap()
    else if ("drop" in button.dataset) this.drop(button.closest("model-reply"))
    else if ("mark" in button.dataset) this.mark(button.closest("model-reply").view.marks)
    else if (open) this.open(open)
    else if ("close" in button.dataset) button.closest("dialog").close()
  }

  get isFull() {
    return "full" in this.dataset
  }

  get replies() {
    return [...this.querySelectorAll("model-reply")]
  }

  part(name) {
    return this.querySelector(`[data-${name}]`)
  }

  // --- what is asked ---
  get fields() {
    return [...this.form.querySelectorAll("[data-most]")]
  }

  get question() {
    const inputs = Object.fromEntries(this.fields.map(field => [field.name, field.value])), parameters = this.parameters
    return Object.keys(parameters).length ? { inputs, parameters } : { inputs }
  }

  // A question that was asked before: from an example, the history, a shared link, or the page before this one.
  fill({ inputs, parameters }) {
    for (const field of this.fields) {
      field.value = inputs[field.name] ?? ""
      this.edit(field)
    }
    if (parameters) this.settings.forEach(setting => this.set(setting, parameters[setting.dataset.parameter]))
  }

  take(button) {
    button.closest("dialog")?.close()
    this.fill(JSON.parse(button.dataset.again))
    this.ask()
  }

  clear() {
    this.stop()
    this.fill({ inputs: {} })
    for (const reply of this.replies) reply.clear()
    this.fields[0].focus()
  }

  // The other direction: what the model answered becomes the question.
  swap() {
    const [reply] = this.replies, [field] = this.fields, { text } = reply.view
    const direction = this.direction
    if (direction) this.set(direction, [...direction.options].find(option => !option.selected).value)
    this.nameLanguages()
    if (!reply.answer || !text) return field.focus()
    field.value = text
    this.edit(field)
    this.ask()
  }

  get direction() {
    return this.settings.find(setting => "turns" in setting.dataset)
  }

  edit(field) {
    if (field.dataset.number !== undefined) return this.couple(field)
    if (!field.dataset.most) return
    this.count(field)
    if (field === this.passage) this.mark([])
  }

  // Says how much of the limit is used, and warns beyond it.
  count(field) {
    const most = Number(field.dataset.most), count = length(field.value)
    const line = this.querySelector(`[data-count-of="${field.name}"]`)
    const values = { count: count.toLocaleString(), limit: most.toLocaleString() }
    line.hidden = count === 0
    line.textContent = sentence(count > most ? this.dataset.long : this.dataset.count, values)
    line.classList.toggle("warn", count > most)
    this.part("clear").hidden = this.fields.every(each => !each.value)
  }

  // --- parameters: only what differs from the default is sent ---
  get drawer() {
    return this.part("drawer")
  }

  get settings() {
    return [...this.querySelectorAll("[data-parameter]")]
  }

  get parameters() {
    const changed = this.settings.filter(setting => !isDefault(setting) && !setting.disabled)
    return Object.fromEntries(changed.map(setting => [setting.dataset.parameter, valueOf(setting)]))
  }

  change(target) {
    this.keep()
    if (target.dataset.number !== undefined || target.dataset.parameter) this.sayChanged()
    if ("turns" in target.dataset) this.nameLanguages()
    if ("differences" in target.dataset) this.differ()
  }

  // The slider and the number beside it are one value.
  couple(field) {
    for (const other of this.querySelectorAll(`[data-number="${field.dataset.number}"]`)) if (other !== field) other.value = field.value
    this.sayChanged()
  }

  set(setting, value = JSON.parse(setting.dataset.default)) {
    if (setting.type === "checkbox") setting.checked = value
    else setting.value = value
    if (setting.dataset.number !== undefined) this.couple(setting)
    else this.sayChanged()
  }

  reset() {
    for (const setting of this.settings) this.set(setting)
  }

  sayChanged() {
    if (!this.drawer) return
    this.silence()
    const count = Object.keys(this.parameters).length
    this.part("changed").textContent = count ? sentence(this.dataset.changed, { count }) : ""
    this.part("reset").hidden = !count
    for (const row of this.drawer.querySelectorAll(".parameter")) row.classList.toggle("on", !isDefault(row.querySelector("[data-parameter]")))
  }

  // A parameter that does nothing without another one is grey until then.
  silence() {
    for (const row of this.drawer.querySelectorAll("[data-needs]")) {
      const other = this.settings.find(setting => setting.dataset.parameter === row.dataset.needs)
      const isIdle = Boolean(other) && Number(other.value) < Number(row.dataset.least)
      row.classList.toggle("idle", isIdle)
      for (const input of row.querySelectorAll("input, select")) input.disabled = isIdle
    }
  }

  // --- asking ---
  async ask(replies = this.replies) {
    const empty = this.fields.find(field => field.required && !field.value.trim())
    for (const reply of replies) reply.stop()
    if (empty) {
      empty.focus()
      return replies[0].fail(this.dataset.empty, false)
    }
    const question = this.question
    this.keep()
    this.busy(true)
    await Promise.all(replies.map(reply => reply.ask(question)))
    if (!this.replies.some(reply => reply.isBusy)) this.busy(false)
  }

  stop() {
    for (const reply of this.replies) reply.stop()
    this.busy(false)
  }

  get isBusy() {
    return !this.part("stop").hidden
  }

  // Stop stands where Ask stood, and takes the focus over.
  busy(is) {
    const [ask, stop] = [this.part("ask"), this.part("stop")]
    const isHere = [ask, stop].includes(document.activeElement)
    ask.hidden = is
    stop.hidden = !is
    if (isHere) (is ? stop : ask).focus()
  }

  answered(reply) {
    const isFirst = reply === this.replies[0], { source_lang, target_lang, seen_lang } = reply.answer
    const isAsAsked = this.passage && reply.question.inputs[this.passage.name] === this.passage.value
    if (isFirst && isAsAsked && reply.view.marks) this.mark(reply.view.marks)
    if (isFirst && source_lang) this.part("language").textContent = languageName(source_lang)
    if (target_lang && reply.part("language")) reply.part("language").textContent = languageName(target_lang)
    if (reply.part("foreign")) {
      const [seen, learnt] = [languageName(seen_lang), languageName(source_lang)]
      reply.part("foreign").textContent = sentence(reply.part("foreign").dataset.words, { seen, learnt })
      reply.part("foreign").hidden = !seen_lang
    }
    if (!reply.isUntuned) this.sayLoaded(reply.dataset.model)
    this.differ()
  }

  sayLoaded(model) {
    for (const state of this.querySelectorAll(`[data-warm="${model}"]`)) state.textContent = state.dataset.loaded
  }

  // The languages by their names, in the reader's own: first the question's, then those of the answers.
  nameLanguages() {
    const headings = [...this.querySelectorAll("[data-language]")], isBack = this.direction && !isDefault(this.direction)
    const codes = [headings[0], headings[1]].map(heading => heading?.dataset.language)
    if (isBack) codes.reverse()
    headings.forEach((heading, place) => (heading.textContent = languageName(codes[Math.min(place, 1)])))
  }

  // --- the passage, with what the model chose from it marked behind the words ---
  get passage() {
    return this.form.querySelector("textarea[data-passage]")
  }

  mark(stretches = []) {
    if (!this.passage) return
    const layer = this.part("marks")
    layer.replaceChildren(...(stretches.length ? marked(`${this.passage.value}\n`, stretches) : []))
    const first = layer.querySelector("mark")
    if (first) this.passage.scrollTop = first.offsetTop - 24
    this.follow(this.passage)
  }

  follow(target) {
    if (target === this.passage) this.part("marks").scrollTop = target.scrollTop
  }

  // --- beside each other ---
  compare(event, link) {
    if (event.ctrlKey || event.metaKey) return
    event.preventDefault()
    link.closest("details").open = false
    if (this.replies.length >= MOST_REPLIES) return
    const { replyUrl, model, name, untuned } = link.dataset
    if (this.replies.some(other => other.dataset.model === model && other.dataset.untuned === untuned)) return
    const reply = this.querySelector("template").content.firstElementChild.cloneNode(true)
    Object.assign(reply.dataset, { url: replyUrl, model }, untuned !== undefined && { untuned })
    reply.querySelector("[data-name]").textContent = reply.querySelector("[data-name]").title = name
    reply.querySelector("[data-about]").append(...link.querySelector(".quiet").cloneNode(true).childNodes)
    this.part("replies").append(reply)
    this.arrange()
    if (this.fields.some(field => field.value.trim()) && this.replies[0].answer) this.ask([reply])
  }

  drop(reply) {
    reply.remove()
    this.arrange()
    this.differ()
  }

  // Heads and the switch for differences appear with the second model; the address says who is compared.
  arrange() {
    const replies = this.replies, isMany = replies.length > 1
    this.toggleAttribute("compared", isMany)
    this.nameLanguages()
    if (!this.part("compare")) return
    this.part("compare").hidden = replies.length >= MOST_REPLIES
    this.part("differ").hidden = !isMany || !replies[0].view.hasAttribute("data-differs")
    for (const reply of replies) reply.part("head").hidden = !isMany
    const address = new URL(location)
    if (!address.searchParams.has("model") && !isMany) return
    address.search = new URLSearchParams([["model", replies[0].dataset.model], ...replies.slice(1).map(nameInAddress)])
    history.replaceState(history.state, "", address)
  }

  differ() {
    const replies = this.replies.filter(reply => reply.view?.differ)
    if (!replies.length) return
    const first = replies[0].answer?.text, isOn = this.part("differences")?.checked && replies.length > 1 && first !== undefined
    for (const reply of replies) reply.view.differ(isOn && reply !== replies[0] ? first : undefined)
  }

  // --- what was written is still there after another model was chosen, or the page was left ---
  keep() {
    if (!this.isFull || this.querySelector("#asked")) return
    sessionStorage.setItem(`draft:${this.dataset.task}`, JSON.stringify(this.question))
  }

  recall() {
    const asked = this.querySelector("#asked"), draft = this.isFull && sessionStorage.getItem(`draft:${this.dataset.task}`)
    this.nameLanguages()
    if (asked) this.showAsked(JSON.parse(asked.textContent))
    else if (draft) this.fill(JSON.parse(draft))
    else this.sayChanged()
  }

  // A question of the past with its answer, as they were.
  async showAsked({ inputs, parameters, answer, reason }) {
    this.fill({ inputs, parameters })
    const [reply] = this.replies
    await reply.ready
    if (reason) reply.fail(reason, false)
    else reply.show(answer, { inputs, parameters })
  }

  // --- windows ---
  open(name) {
    const dialog = this.querySelector(`dialog[data-dialog="${name}"]`)
    if (name === "code") this.write(dialog)
    dialog.showModal()
  }

  write(dialog) {
    for (const code of dialog.querySelectorAll("[data-code]"))
      for (const body of code.querySelectorAll("[data-body]")) body.textContent = WRITERS[code.dataset.code](this.question)
  }
}

const valueOf = setting => (setting.type === "checkbox" ? setting.checked : setting.type === "number" ? Number(setting.value) : setting.value)
const isDefault = setting => setting.value === "" || String(valueOf(setting)) === String(JSON.parse(setting.dataset.default))
const nameInAddress = reply => ["with", "untuned" in reply.dataset ? "base" : reply.dataset.model]

function languageName(code) {
  if (!code) return ""
  try {
    return new Intl.DisplayNames([document.documentElement.lang], { type: "language" }).of(code.split("_")[0])
  } catch {
    return code
  }
}

customElements.define("try-it", TryIt)
