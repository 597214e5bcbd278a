// <log-tail data-name>: the run's words as they come; follow, filter, download. Lines enter as text only.

import { save } from "lib/plot";

const MOST = 2000; // lines kept on the page; the file has all that came

class LogTail extends HTMLElement {
  lines = [];

  connectedCallback() {
    this.list = this.querySelector("[data-lines]");
    this.follow = this.querySelector("[data-follow]");
    this.addEventListener("input", this.#filter);
    this.addEventListener("click", this.#press);
    this.list.addEventListener("scroll", this.#scroll, { passive: true });
  }

  disconnectedCallback() {
    this.removeEventListener("input", this.#filter);
    this.removeEventListener("click", this.#press);
    this.list.removeEventListener("scroll", this.#scroll);
  }

  add(lines) {
    if (!lines?.length) return;
    this.lines.push(...lines);
    const rows = lines.slice(-MOST).map((line) => this.#row(line));
    this.list.append(...rows);
    while (this.list.childElementCount > MOST) this.list.firstElementChild.remove();
    this.querySelector("[data-empty]")?.toggleAttribute("hidden", true);
    this.#tail();
  }

  #row({ at, level, text }) {
    const row = document.createElement("li");
    row.dataset.level = level;
    const time = document.createElement("time");
    const when = new Date(typeof at === "number" ? at * 1000 : at);
    time.textContent = Number.isNaN(when.valueOf()) ? "" : when.toLocaleTimeString();
    const words = document.createElement("span");
    words.dir = "auto";
    words.textContent = text;
    row.append(time, words);
    row.hidden = !this.#isWanted(row);
    return row;
  }

  #isWanted(row) {
    const level = this.querySelector("[data-level-filter]")?.value ?? "";
    const wanted = this.querySelector("[type=search]")?.value.toLowerCase() ?? "";
    const isLoud = !level || row.dataset.level === level || (level === "warning" && row.dataset.level === "error");
    return isLoud && row.textContent.toLowerCase().includes(wanted);
  }

  #filter = () => {
    for (const row of this.list.children) row.hidden = !this.#isWanted(row);
    this.#tail();
  };

  #press = ({ target }) => {
    if (!target.closest("[data-download]")) return;
    const text = this.lines.map(({ at, level, text }) => `${typeof at === "number" ? new Date(at * 1000).toISOString() : at} ${level} ${text}`);
    save(`${this.dataset.name}.log`, new Blob([text.join("\n") + "\n"], { type: "text/plain" }));
  };

  /** Who scrolls up wants to read: following pauses, and goes on at the bottom. */
  #scroll = () => {
    const isAtEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 24;
    if (this.follow && this.list.clientHeight) this.follow.checked = isAtEnd;
  };

  #tail() {
    if (this.follow?.checked) this.list.scrollTop = this.list.scrollHeight;
  }
}

customElements.define("log-tail", LogTail);
