// <answer-span>: the answer above the passage in which it stands; pressing another one shows where that stands.
import { share } from "lib/bars"
import { marked } from "lib/spans"
import { sentence } from "lib/words"

class AnswerSpan extends HTMLElement {
  connectedCallback() {
    this.addEventListener("click", this)
  }

  handleEvent({ target }) {
    const button = target.closest("[data-rank]")
    if (button) this.choose(this.found[Number(button.dataset.rank)], button)
  }

  show(answer, question) {
    this.passage = question.inputs[this.dataset.passage] ?? ""
    this.found = answer.n_best?.length ? answer.n_best : answer.no_answer ? [] : [answer]
    this.text = answer.no_answer ? this.dataset.none : answer.answer
    this.part("found").textContent = this.text
    this.part("found").classList.toggle("quiet", answer.no_answer)
    this.part("why").hidden = !answer.no_answer
    this.part("score").textContent = share(answer.no_answer ? answer.no_answer_score : answer.score)
    this.part("list").replaceChildren(...this.found.map((each, rank) => this.row(each, rank)))
    this.part("others").hidden = this.found.length < (answer.no_answer ? 1 : 2)
    this.choose(answer.no_answer ? null : answer, answer.no_answer ? null : this.querySelector("[data-rank]"))
  }

  row(each, rank) {
    const item = document.createElement("li"), button = document.createElement("button"), words = document.createElement("span"), number = document.createElement("b")
    button.type = "button"
    button.dataset.rank = rank
    words.dir = "auto"
    words.textContent = each.answer || this.dataset.none
    number.className = "num"
    number.textContent = share(each.score)
    button.append(words, number)
    item.append(button)
    return item
  }

  // Marks one answer in the passage and brings it into sight, without moving the page.
  choose(answer, button) {
    for (const each of this.querySelectorAll("[data-rank]")) each.setAttribute("aria-pressed", each === button)
    const box = this.part("text")
    box.replaceChildren(...marked(this.passage, answer ? [answer] : []))
    const mark = box.querySelector("mark")
    box.scrollTop = mark ? mark.offsetTop - box.clientHeight / 2 + mark.offsetHeight / 2 : 0
  }

  part(name) {
    return this.querySelector(`[data-${name}]`)
  }

  get spoken() {
    return sentence(this.dataset.spoken, { answer: this.text, share: this.part("score").textContent })
  }
}

customElements.define("answer-span", AnswerSpan)
