// <answer-translation>: the translation, and the other versions where some were asked for.
import { Written } from "lib/written"

class AnswerTranslation extends Written {
  show(answer) {
    super.show(answer)
    const others = (answer.n_best ?? []).filter(({ text }, place) => place > 0 || text !== answer.text)
    this.part("others").hidden = others.length === 0
    this.part("list").replaceChildren(...others.map(({ text, score }) => {
      const row = document.createElement("li"), words = document.createElement("span"), number = document.createElement("b")
      words.dir = "auto"
      words.textContent = text
      number.className = "num"
      number.textContent = typeof score === "number" ? score.toFixed(2) : ""
      row.append(words, number)
      return row
    }))
  }
}

customElements.define("answer-translation", AnswerTranslation)
