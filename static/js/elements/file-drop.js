// <file-drop>: files dropped anywhere on the page travel by tus, can be paused, and go on after a reload when the same
// file is chosen again. When all have arrived, the form inside names them and is sent.
import { csrf } from "lib/csrf"
import { Upload } from "tus"

const PARTS = [["validation", /(^|[^a-z])(val|valid|validation|dev)([^a-z]|$)/i], ["test", /(^|[^a-z])(test|eval|heldout)([^a-z]|$)/i], ["train", /(^|[^a-z])(train|training)([^a-z]|$)/i]]
const RETRIES_MS = [0, 1000, 3000, 5000, 10_000, 20_000, 30_000, 60_000]

const guessPart = name => PARTS.find(([, pattern]) => pattern.test(name))?.[0] ?? "train"

class FileDrop extends HTMLElement {
  connectedCallback() {
    this.files = []
    this.form = this.querySelector("[data-form]")
    this.input = this.querySelector("[data-input]")
    this.input.addEventListener("change", this)
    this.querySelector("[data-start]").addEventListener("click", this)
    for (const type of ["dragover", "dragleave", "drop"]) document.addEventListener(type, this)
  }

  disconnectedCallback() {
    for (const type of ["dragover", "dragleave", "drop"]) document.removeEventListener(type, this)
    for (const file of this.files) file.upload?.abort()
  }

  handleEvent(event) {
    if (event.type === "change") return this.add(event.target.files)
    if (event.type === "click") return this.start()
    if (!event.dataTransfer?.types.includes("Files")) return
    event.preventDefault()
    document.body.classList.toggle("over", event.type === "dragover")
    if (event.type === "drop") this.add(event.dataTransfer.files)
  }

  add(list) {
    this.complain("")
    for (const file of list) {
      if (file.size > Number(this.dataset.limit)) this.complain(`${file.name} ${this.dataset.tooLarge}`)
      else this.files.push({ file, part: guessPart(file.name), sent: 0, id: "" })
    }
    if (this.files.length > PARTS.length) {
      this.files = this.files.slice(0, PARTS.length)
      this.complain(this.dataset.tooMany)
    }
    this.input.value = ""
    if (!this.files.length) return
    const isLone = this.files.length === 1
    if (isLone) this.files[0].part = "file"
    else for (const each of this.files) if (each.part === "file") each.part = guessPart(each.file.name)
    this.draw()
    if (isLone) this.start()
  }

  draw() {
    this.form.hidden = false
    this.querySelector("[data-start]").hidden = this.files.length < 2
    this.querySelector("[data-files]").replaceChildren(...this.files.map(each => this.line(each)))
  }

  line(each) {
    if (each.line) return this.refresh(each)
    const line = (each.line = this.querySelector("template").content.firstElementChild.cloneNode(true))
    line.querySelector("[data-name]").textContent = each.file.name
    line.querySelector("[data-drop]").textContent = this.dataset.remove
    line.querySelector("[data-drop]").addEventListener("click", () => this.remove(each))
    line.querySelector("[data-toggle]").addEventListener("click", () => this.toggle(each))
    line.querySelector("[data-part]").addEventListener("change", ({ target }) => (each.part = target.value))
    this.say(each, this.dataset.waiting)
    return this.refresh(each)
  }

  refresh(each) {
    const select = each.line.querySelector("[data-part]")
    select.value = each.part
    select.hidden = this.files.length === 1 || this.isStarted
    select.options[0].hidden = this.files.length > 1
    return each.line
  }

  start() {
    const parts = this.files.map(each => each.part)
    if (new Set(parts).size < parts.length) return this.complain(this.dataset.samePart)
    if (this.files.length > 1 && !parts.includes("train")) return this.complain(this.dataset.noTrain)
    this.complain("")
    this.isStarted = true
    this.draw()
    this.querySelector("[data-start]").hidden = true
    for (const each of this.files) if (!each.upload) this.send(each)
  }

  async send(each) {
    const upload = (each.upload = new Upload(each.file, {
      endpoint: this.dataset.uploads,
      chunkSize: Number(this.dataset.chunk),
      retryDelays: RETRIES_MS,
      metadata: { filename: each.file.name },
      removeFingerprintOnSuccess: true,
      onBeforeRequest: request => request.setHeader("X-CSRFToken", csrf()),
      onProgress: (sent, total) => this.show(each, sent, total),
      onShouldRetry: error => {
        const status = error.originalResponse?.getStatus() ?? 0
        if (!status) this.say(each, this.dataset.again)
        return status === 0 || status === 409 || status === 423 || status === 460 || (status >= 500 && status !== 507)
      },
      onError: error => this.complain(error.originalResponse?.getBody() || `${each.file.name}: ${this.dataset.again}`),
      onSuccess: () => this.arrived(each),
    }))
    const [earlier] = await upload.findPreviousUploads()
    if (earlier) {
      upload.resumeFromPreviousUpload(earlier)
      this.say(each, this.dataset.kept)
    }
    const toggle = each.line.querySelector("[data-toggle]")
    toggle.hidden = false
    toggle.textContent = this.dataset.pause
    upload.start()
  }

  toggle(each) {
    each.isPaused = !each.isPaused
    each.line.querySelector("[data-toggle]").textContent = each.isPaused ? this.dataset.resume : this.dataset.pause
    if (each.isPaused) {
      each.upload.abort()
      this.say(each, this.dataset.paused)
    } else each.upload.start()
  }

  remove(each) {
    each.upload?.abort(true).catch(() => {})
    this.files = this.files.filter(other => other !== each)
    this.draw()
    if (!this.files.length) {
      this.isStarted = false
      this.form.hidden = true
    } else this.finish()
  }

  show(each, sent, total) {
    const bar = each.line.querySelector("[data-progress]")
    bar.value = total ? sent / total : 1
    const mb = bytes => (bytes / 1024 ** 2).toFixed(bytes < 10 * 1024 ** 2 ? 1 : 0)
    if (!each.isPaused) this.say(each, `${mb(sent)} / ${mb(total)} MB`)
  }

  arrived(each) {
    each.id = each.upload.url.split("/").pop()
    each.line.querySelector("[data-progress]").value = 1
    each.line.querySelector("[data-toggle]").hidden = true
    this.say(each, this.dataset.done)
    this.finish()
  }

  finish() {
    if (!this.isStarted || !this.files.every(each => each.id)) return
    for (const each of this.files) this.form.elements[each.part].value = each.id
    this.form.submit()
  }

  say(each, text) {
    each.line.querySelector("[data-state]").textContent = text
  }

  complain(text) {
    const place = this.querySelector("[data-error]")
    place.textContent = text
    place.hidden = !text
    if (text) this.form.hidden = false
  }
}
customElements.define("file-drop", FileDrop)
