// <answer-labels>: how likely each label is, as bars.
import { bar, share } from "lib/bars"
import { sentence } from "lib/words"

const SHOWN = 6  // labels with a bar of their own; the rest is summed up in a line

class AnswerLabels extends HTMLElement {
  show(answer) {
    this.answer = answer
    this.querySelector("[data-bars]").replaceChildren(...this.bars(answer.scores))
  }

  get spoken() {
    return sentence(this.dataset.spoken, this.brief(this.answer))
  }

  // What another model's answer is in a word, for the line below this one.
  brief({ label, scores }) {
    return { label, share: share(scores[label]) }
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
    line.textContent = sentence(this.dataset.others, { count: rest.length, share: share(rest.reduce((sum, [, value]) => sum + value, 0)) })
    return [list, line]
  }
}

customElements.define("answer-labels", AnswerLabels)
