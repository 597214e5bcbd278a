// What every answer that is a text has in common: it can be copied, and compared with another.
import { diff } from "lib/diff"
import { sentence } from "lib/words"

const KINDS = { gone: "del", new: "ins" }

export class Written extends HTMLElement {
  get box() {
    return this.querySelector("[data-written]")
  }

  show(answer) {
    const { id, latency_ms, engine, cut, unknown, ...rest } = answer
    this.text = answer.text ?? answer.answer ?? JSON.stringify(rest, null, 1)
    this.write()
  }

  write() {
    this.box.textContent = this.text
  }

  // Shows what is other than in `first`; without one, the text as it is.
  differ(first) {
    if (first === undefined || this.text === undefined) return this.text !== undefined && this.write()
    this.box.replaceChildren(...diff(first, this.text).map(({ kind, text }) => {
      if (kind === "same") return text
      const part = document.createElement(KINDS[kind])
      part.textContent = text
      return part
    }))
  }

  part(name) {
    return this.querySelector(`[data-${name}]`)
  }

  say(name, values) {
    return sentence(this.dataset[name], values)
  }

  get spoken() {
    return this.text
  }
}
