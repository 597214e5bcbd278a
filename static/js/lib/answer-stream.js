// <answer-stream>: a text that grows while it is written. Afterwards each token tells how likely it was, and what else was.
import { bar, share } from "lib/bars"
import { Written } from "lib/written"

const SHOWN = { "\n": "⏎", "\t": "⇥", " ": "␣" }
const visible = text => text.replace(/^[\n\t ]+$/, blank => [...blank].map(each => SHOWN[each]).join(""))

class AnswerStream extends Written {
  connectedCallback() {
    for (const type of ["pointerover", "pointerleave", "focusin", "focusout", "keydown", "change"]) this.addEventListener(type, this)
  }

  handleEvent(event) {
    const token = event.target.closest?.("[data-token]")
    if (event.type === "change") this.box.classList.toggle("heat", event.target.checked)
    else if (event.type === "keydown") this.step(event, token)
    else if (["pointerleave", "focusout"].includes(event.type)) this.part("tip").hidden = true
    else if (token) this.tell(token)
    else if (event.type === "pointerover") this.part("tip").hidden = true
  }

  begin() {
    this.text = ""
    this.tokens = []
    this.box.replaceChildren()
    this.part("sure").hidden = this.part("speed").hidden = this.part("tip").hidden = true
  }

  piece({ text, tokens }) {
    this.text += text
    this.tokens.push(...(tokens ?? []))
    this.box.append(text)
  }

  // What was there when somebody pressed Stop, with what is known of its tokens.
  stopped() {
    if (!this.text) return
    this.write()
    this.part("sure").hidden = !this.areTold
    this.part("speed").hidden = false
    this.part("speed").textContent = this.say("stopped")
  }

  show(answer) {
    this.tokens = answer.tokens ?? []
    super.show(answer)
    const { first_ms, tokens_per_s, tokens_in, tokens_out, finish } = answer
    const speed = this.say("pace", { first: Math.round(first_ms), pace: tokens_per_s?.toFixed(1), in: tokens_in, out: tokens_out })
    this.part("speed").textContent = finish === "length" ? `${speed} ${this.dataset.length}` : speed
    this.part("speed").hidden = first_ms === undefined
    this.part("sure").hidden = !this.areTold
  }

  get areTold() {
    return this.tokens.some(token => token.p !== undefined)
  }

  // Below which a token counts as unlikely: the least likely fifth of this answer, so that a weak model is not underlined whole.
  get unlikely() {
    const chances = this.tokens.map(({ p }) => p).filter(p => p !== undefined).sort((one, other) => one - other)
    return Math.min(0.5, chances[Math.floor(chances.length / 5)] ?? 0)
  }

  // Token by token where they make up the text; else as it is.
  write() {
    const isWhole = this.tokens.length && this.tokens.map(token => token.text).join("") === this.text
    if (!isWhole) return super.write()
    const unlikely = this.unlikely
    this.box.replaceChildren(...this.tokens.map(({ text, p }, number) => {
      const span = document.createElement("span")
      span.textContent = text
      span.dataset.token = number
      span.tabIndex = number ? -1 : 0
      span.style.setProperty("--doubt", (p ?? 1) <= unlikely ? (1 - p).toFixed(2) : 0)
      return span
    }))
  }

  // One token is a stop of the keyboard; the arrows go on from there.
  step(event, token) {
    const to = { ArrowRight: token?.nextElementSibling, ArrowLeft: token?.previousElementSibling }[event.key]
    if (!to) return
    event.preventDefault()
    token.tabIndex = -1
    to.tabIndex = 0
    to.focus()
  }

  tell(token) {
    const { text, p, top } = this.tokens[Number(token.dataset.token)], tip = this.part("tip")
    if (p === undefined) return
    const others = (top ?? []).filter(([other]) => other.trim() !== text.trim())
    const among = [[text, p], ...others].sort((one, other) => other[1] - one[1])
    tip.replaceChildren(...among.map(([other, value]) => bar(visible(other), value, other === text)))
    token.setAttribute("aria-description", share(p))
    tip.hidden = false
    const [mine, room] = [token.getClientRects()[0], this.getBoundingClientRect()]
    tip.style.left = `${Math.max(0, Math.min(mine.left - room.left, room.width - tip.offsetWidth))}px`
    tip.style.top = `${mine.bottom - room.top + 4}px`
  }
}

customElements.define("answer-stream", AnswerStream)
