// <model-reply data-url>: asks one model and shows what comes: that it is being loaded, the answer, or why there is none.
// How an answer looks is the matter of the <answer-...> inside; its module is fetched by its name. Everything that comes
// from a model enters the page as text. The words for people stand in data attributes of the <try-it> around it.
import { ask, plain } from "lib/ask"
import { toast } from "lib/toast"
import { sentence } from "lib/words"

const MUCH_UNKNOWN = 0.05  // a share of the question of which people are told, as worker/nlp/texts.py has it

const span = ms => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`)

class ModelReply extends HTMLElement {
  connectedCallback() {
    this.view = this.part("answer").firstElementChild
    this.ready = import(`lib/${this.view.localName}`)
    this.addEventListener("click", this)
  }

  disconnectedCallback() {
    this.stop()
  }

  handleEvent(event) {
    const button = event.target.closest("button")
    if (!button) return
    if ("retry" in button.dataset) this.closest("try-it").ask([this])
    else if ("copy" in button.dataset) this.copy()
  }

  // --- asking ---
  async ask(question) {
    this.stop()
    const asking = this.asking = new AbortController(), untuned = this.isUntuned
    this.busy(true)
    try {
      await this.ready
      const answer = await this.follow({ ...question, untuned }, asking.signal)
      this.show(answer, question)
      if ("base" in this.dataset && this.view.brief && !this.closest("[compared]")) this.askBase(question, asking)
    } catch (error) {
      if (this.asking === asking) this.fail(error.isPlain ? error.message : this.words.lost, error.canRetry ?? true)
    } finally {
      if (this.asking === asking) this.busy(false)
    }
  }

  async follow(question, signal) {
    let pieces = 0
    this.isDrawing = false
    for await (const { event, data } of ask(this.dataset.url, question, signal)) {
      if (event === "loading") this.wait(data.expected_s)
      else if (event === "piece") this.piece(data, pieces++)
      else if (event === "answer") return data
      else if (event === "failed") throw plain(data.reason, true)
    }
    throw new Error("the stream ended without an answer")
  }

  // The server stops computing when nobody reads any more.
  stop() {
    if (!this.asking) return
    this.asking.abort()
    this.asking = null
    if (this.isBusy && this.isDrawing) this.halt()
    this.busy(false)
  }

  // What was written before somebody pressed Stop can still be read and copied.
  halt() {
    this.view.stopped?.()
    this.part("latency").textContent = ""
    this.part("link").hidden = true
    this.part("under").hidden = this.part("copy").hidden = !this.view.text
  }

  // The base's word stands beside the answer, later and quietly: it is a comparison, not the answer.
  async askBase(question, { signal }) {
    try {
      for await (const { event, data } of ask(this.dataset.url, { ...question, untuned: true }, signal)) {
        if (event !== "answer") continue
        const { label, share } = this.view.brief(data), name = document.createElement("b")
        name.dir = "auto"
        name.textContent = label
        const [before, after] = sentence(this.words.baseSays, { label: "\0", share }).split("\0")
        this.part("base-line").replaceChildren(before, name, after)
        this.part("base-line").hidden = false
      }
    } catch { /* without the comparison the answer is still there */ }
  }

  get isUntuned() {
    return "untuned" in this.dataset
  }

  get isBusy() {
    return this.hasAttribute("aria-busy")
  }

  // --- showing ---
  part(name) {
    return this.querySelector(`[data-${name}]`)
  }

  get words() {
    return this.closest("try-it").dataset
  }

  busy(is) {
    clearInterval(this.clock)
    if (is) this.setAttribute("aria-busy", "true")
    else this.removeAttribute("aria-busy")
    this.part("wait").hidden = true
    if (is) {
      this.part("error").hidden = true
      this.clock = setTimeout(() => this.say(this.words.asking), 300)  // no flicker for what answers at once
    }
  }

  say(words) {
    this.part("wait").textContent = words
    this.part("wait").hidden = false
  }

  wait(seconds) {
    clearInterval(this.clock)
    let left = Math.ceil(seconds)
    const tick = () => this.say(sentence(this.words.loading, { seconds: Math.max(1, left--) }))
    tick()
    this.clock = setInterval(tick, 1000)
  }

  piece(data, number) {
    if (number === 0) {
      clearInterval(this.clock)
      this.part("wait").hidden = true
      this.begin()
      this.part("under").hidden = true
    }
    this.view.piece?.(data)
  }

  begin() {
    this.answer = null
    this.isDrawing = true
    this.view.begin?.()
    this.part("error").hidden = this.part("base-line").hidden = this.part("cut").hidden = this.part("unknown").hidden = true
    this.part("answer").hidden = false
    if (this.asking && this.getBoundingClientRect().bottom > innerHeight - 84) this.scrollIntoView({ block: "nearest" })
  }

  show(answer, question) {
    this.begin()
    Object.assign(this, { answer, question })
    this.view.show(answer, question)
    const took = typeof answer.latency_ms === "number" ? span(answer.latency_ms) : ""
    this.part("latency").textContent = [took, answer.engine].filter(Boolean).join(" · ")
    this.part("link").hidden = !answer.id
    this.part("link").href = `${this.words.shared}${answer.id}/`
    this.part("cut").hidden = !answer.cut
    this.part("cut").textContent = sentence(this.part("cut").dataset.words, { count: Number(answer.cut).toLocaleString() })
    this.part("unknown").hidden = !(answer.unknown >= MUCH_UNKNOWN)
    this.part("unknown").textContent = sentence(this.part("unknown").dataset.words, { share: `${Math.round(100 * answer.unknown)} %` })
    this.part("copy").hidden = !this.view.text
    this.part("under").hidden = false
    this.part("aloud").textContent = this.view.spoken
    this.dispatchEvent(new CustomEvent("answered", { bubbles: true, detail: answer }))
  }

  fail(reason, canRetry) {
    this.part("reason").textContent = reason
    this.part("retry").hidden = !canRetry
    this.part("error").hidden = false
    this.part("answer").hidden = true
    this.answer = null
  }

  clear() {
    this.stop()
    this.answer = null
    this.part("error").hidden = this.part("answer").hidden = true
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.view.text)
      toast(this.words.copied)
    } catch {
      getSelection().selectAllChildren(this.view)  // no clipboard without https: select it, the person presses Ctrl+C
    }
  }
}

customElements.define("model-reply", ModelReply)
