// <try-it data-url>: asks a model and draws what it answers. Everything that comes from a model or a person enters the
// page as text. The words for people stand in data attributes, written by the server in the reader's language.
import { csrf } from "lib/csrf"

const SHOWN = 6  // labels with a bar of their own; the rest is summed up in a line
const share = number => number.toFixed(2)
const fill = (words, values) => words.replace(/\{(\w+)\}/g, (_, name) => values[name])

class TryIt extends HTMLElement {
  connectedCallback() {
    this.form = this.querySelector("form")
    this.form.addEventListener("submit", this)
    this.addEventListener("keydown", this)
    this.addEventListener("click", this)
    this.addEventListener("input", this)
  }

  disconnectedCallback() {
    this.stop()
  }

  handleEvent(event) {
    if (event.type === "submit") {
      event.preventDefault()
      this.ask()
    } else if (event.type === "input") {
      this.count(event.target)
    } else if (event.type === "keydown") {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.ask()
      if (event.key === "Escape" && this.asking) this.stop()
    } else {
      this.press(event.target.closest("button"))
    }
  }

  press(button) {
    if (!button) return
    const { example, open } = button.dataset
    if (example !== undefined || "again" in button.dataset) this.take(button)
    else if ("stop" in button.dataset) this.stop()
    else if ("retry" in button.dataset) this.ask()
    else if (open) this.open(open)
    else if ("close" in button.dataset) button.closest("dialog").close()
  }

  // --- what is asked ---
  get fields() {
    return [...this.form.querySelectorAll("[data-most]")]
  }

  get inputs() {
    return Object.fromEntries(this.fields.map(field => [field.name, field.value]))
  }

  take(button) {
    button.closest("dialog")?.close()
    const values = [...button.querySelectorAll("[data-value]")]
    this.fields.forEach((field, number) => {
      field.value = values[number]?.textContent ?? ""
      this.count(field)
    })
    this.ask()
  }

  // Says how much of the limit is used once it is near, and warns beyond it.
  count(field) {
    const most = Number(field.dataset.most), length = [...(field.value ?? "")].length
    const line = this.querySelector(`[data-count-of="${field.name}"]`)
    if (!line) return
    const values = { count: length.toLocaleString(), limit: most.toLocaleString() }
    line.hidden = length === 0
    line.textContent = length > most ? fill(this.dataset.long, values) : fill(this.dataset.count, values)
    line.classList.toggle("warn", length > most)
  }

  open(name) {
    const dialog = this.querySelector(`dialog[data-dialog="${name}"]`)
    if (name === "code") this.write(dialog)
    dialog.showModal()
  }

  write(dialog) {
    const inputs = this.inputs
    for (const code of dialog.querySelectorAll("[data-code]")) {
      const text = JSON.stringify({ inputs })
      code.querySelector("[data-body]").textContent = code.dataset.code === "shell" ? text.replaceAll("'", "'\\''") : text
    }
  }

  // --- asking ---
  async ask() {
    this.stop()
    const inputs = this.inputs
    if (this.fields.every(field => !field.value.trim())) return this.fail(this.dataset.empty, false)
    const asking = this.asking = new AbortController()
    this.busy(true)
    try {
      const answer = await this.post(inputs, false, asking)
      if (!answer) return
      this.draw(answer)
      if ("base" in this.dataset) this.compare(inputs, asking)
    } catch (error) {
      if (error.name !== "AbortError") this.fail(error.isPlain ? error.message : this.dataset.lost, error.canRetry ?? true)
    } finally {
      if (this.asking === asking) this.busy(false)
    }
  }

  stop() {
    this.asking?.abort()
    this.asking = null
    this.busy(false)
  }

  // The base's word stands beside the answer, later and quietly: it is a comparison, not the answer.
  async compare(inputs, asking) {
    const line = this.part("base-line")
    line.hidden = true
    try {
      const answer = await this.post(inputs, true, asking)
      if (!answer || !("label" in answer)) return
      const label = document.createElement("b")
      label.textContent = answer.label
      line.replaceChildren(`${this.dataset.baseSays} `, label, `, ${share(answer.scores[answer.label])}.`)
      line.hidden = false
    } catch { /* without the comparison the answer is still there */ }
  }

  // Sends the question, shows that the model is being loaded, returns the answer.
  async post(inputs, untuned, { signal }) {
    const response = await fetch(this.dataset.url, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "text/event-stream", "X-CSRFToken": csrf() },
      body: JSON.stringify({ inputs, untuned }),
      signal,
    })
    if (!response.ok) throw await problem(response)
    for await (const { event, data } of events(response.body)) {
      if (event === "loading" && !untuned) this.wait(data.expected_s)
      else if (event === "answer") return data
      else if (event === "failed") throw plain(data.reason, true)
    }
    throw new Error("the stream ended without an answer")
  }

  // --- showing ---
  part(name) {
    return this.querySelector(`[data-${name}]`)
  }

  busy(is) {
    clearInterval(this.clock)
    this.toggleAttribute("aria-busy", is)
    this.part("stop").hidden = !is
    this.part("wait").hidden = true
    if (is) {
      this.part("error").hidden = true
      this.clock = setTimeout(() => this.say(this.dataset.asking), 300)  // no flicker for what answers at once
    }
  }

  say(words) {
    this.part("wait").textContent = words
    this.part("wait").hidden = false
  }

  wait(seconds) {
    clearInterval(this.clock)
    let left = Math.ceil(seconds)
    const tick = () => this.say(fill(this.dataset.loading, { seconds: Math.max(1, left--) }))
    tick()
    this.clock = setInterval(tick, 1000)
  }

  fail(reason, canRetry) {
    this.part("reason").textContent = reason
    this.part("retry").hidden = !canRetry
    this.part("error").hidden = false
    this.part("answer").hidden = true
  }

  draw(answer) {
    this.part("error").hidden = true
    this.part("latency").textContent = `${Math.round(answer.latency_ms)} ms`
    this.part("bars").replaceChildren(...(answer.scores ? this.bars(answer.scores) : []))
    this.part("text").textContent = answer.text ?? answer.answer ?? ""
    this.part("cut").hidden = !answer.cut
    this.part("answer").hidden = false
    this.part("base-line").hidden = true
    if (answer.scores) this.part("aloud").textContent = fill(this.dataset.spoken, { label: answer.label, share: share(answer.scores[answer.label]) })
    this.dispatchEvent(new CustomEvent("answered", { bubbles: true, detail: answer }))
  }

  bars(scores) {
    const all = Object.entries(scores).sort((one, other) => other[1] - one[1]), best = all[0][1]
    const shown = all.length > SHOWN + 1 ? all.slice(0, SHOWN) : all
    const list = document.createElement("div")
    list.className = "bars"
    list.append(...shown.map(([label, value]) => bar(label, value, value === best)))
    if (shown.length === all.length) return [list]
    const rest = all.slice(SHOWN), line = document.createElement("p")
    line.className = "quiet num"
    line.textContent = fill(this.dataset.others, { count: rest.length, share: share(rest.reduce((sum, [, value]) => sum + value, 0)) })
    return [list, line]
  }
}

function bar(label, value, isBest) {
  const row = document.createElement("div"), name = document.createElement("span")
  const track = document.createElement("i"), number = document.createElement("b")
  row.className = isBest ? "bar best" : "bar"
  name.textContent = name.title = label
  track.style.setProperty("--w", `${(100 * value).toFixed(1)}%`)
  number.className = "num"
  number.textContent = share(value)
  row.append(name, track, number)
  return row
}

function plain(message, canRetry) {
  return Object.assign(new Error(message), { isPlain: true, canRetry })
}

// The server's problem details as an error for people.
async function problem(response) {
  const { detail, title } = await response.json().catch(() => ({}))
  if (!detail && !title) return new Error(`status ${response.status}`)
  return plain(detail || title, response.status === 429 || response.status >= 500)
}

// Server-sent events, read from the body of a POST.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let waiting = ""
  try {
    while (true) {
      const { value, done } = await reader.read()
      if (done) return
      const parts = (waiting + value).split("\n\n")
      waiting = parts.pop()
      for (const part of parts) {
        const lines = part.split("\n")
        const find = name => lines.find(line => line.startsWith(`${name}: `))?.slice(name.length + 2)
        yield { event: find("event"), data: JSON.parse(find("data")) }
      }
    }
  } finally {
    reader.cancel().catch(() => {})
  }
}

customElements.define("try-it", TryIt)
