// <run-live data-socket data-api data-key>: holds the run's one connection and hands on what comes: points to the
// charts, words to the log, numbers to their places. When the run becomes something else it says "run-changed", and
// the page fetches the server's drawing of it; at a checkpoint "checkpoint-written".

import { Curve } from "lib/curve";
import { Feed } from "lib/feed";
import { sentence } from "lib/words";

const keyOf = ({ state, desired, position, progress, reason }) =>
  [state, desired ?? "", position ?? "", progress?.what ?? "", reason ?? ""].join("|");

class RunLive extends HTMLElement {
  curve = new Curve();
  #heard = 0;

  connectedCallback() {
    this.key = this.dataset.key;
    this.attempts = JSON.parse(this.dataset.attempts || "{}"); // fence: when it began, in seconds
    this.first = Object.values(this.attempts)[0] ?? Date.now() / 1000;
    this.origins = {};
    this.charts = [...this.querySelectorAll("loss-chart, metric-chart")];
    this.log = this.querySelector("log-tail");
    for (const chart of this.charts) {
      this.curve.weights = new Map([...this.curve.weights, ...chart.curve.weights]);
      chart.curve = this.curve;
    }
    this.feed = new Feed(this.dataset.socket, this.dataset.api);
    this.feed.addEventListener("points", ({ detail }) => this.#points(detail));
    this.feed.addEventListener("cut", ({ detail }) => this.#cut(detail.step));
    this.feed.addEventListener("state", ({ detail }) => this.#state(detail));
    this.feed.addEventListener("connection", ({ detail }) => this.#connection(detail.how));
    this.addEventListener("click", this.#press);
    this.#connection("connecting");
    this.clock = setInterval(() => this.#age(), 1000);
    this.feed.open();
  }

  disconnectedCallback() {
    this.removeEventListener("click", this.#press);
    clearInterval(this.clock);
    this.feed?.close();
  }

  #press = ({ target }) => {
    const dialog = target.closest("[data-opens]")?.dataset.opens;
    if (dialog) document.getElementById(dialog).showModal();
    const link = target.closest('a[href^="#"]');
    const tab = link && this.querySelector(`[role=tab][data-tab="${link.hash.slice(1)}"]`);
    if (tab) tab.closest("tab-group").open(tab);
  };

  /** When each point was: the trainer counts seconds of training, an attempt knows when it began. */
  #date(points, fence) {
    const began = this.attempts[fence];
    this.origins[fence] ??= points[0].time;
    for (const point of points) point.wall = (began ?? this.first) + point.time - this.origins[fence];
  }

  #points({ points, log, fence }) {
    this.#heard = Date.now();
    if (points?.length) {
      this.#date(points, fence);
      this.curve.add(points);
      for (const chart of this.charts) chart.changed();
      this.#showMeasured();
      this.querySelector("#waiting")?.replaceChildren();
      this.#step(points);
    }
    this.log?.add(log);
  }

  /** Some metrics are only measured at the end: the first two that get points are shown, an empty chart beside them is not. */
  #showMeasured() {
    if (!this.curve.of("eval_loss").length) return;
    const charts = this.charts.filter(({ dataset }) => dataset.series);
    const measured = charts.filter(({ dataset }) => this.curve.of(dataset.series).length).slice(0, 2);
    for (const chart of charts) chart.closest(".card").hidden = !measured.includes(chart);
  }

  #cut(step) {
    this.curve.cut(step);
    for (const chart of this.charts) chart.changed();
  }

  #state(facts) {
    this.#heard = Date.now();
    const key = keyOf(facts);
    if (key !== this.key) {
      this.key = key;
      this.dispatchEvent(new CustomEvent("run-changed", { bubbles: true }));
    }
    if (this.facts && facts.checkpoint !== this.facts.checkpoint) this.dispatchEvent(new CustomEvent("checkpoint-written", { bubbles: true }));
    this.facts = facts;
    this.dataset.state = facts.state;
    for (const chart of this.charts) {
      chart.toggleAttribute("data-active", ["starting", "running", "stopping"].includes(facts.state));
      if (facts.steps && chart.dataset.steps !== String(facts.steps)) {
        chart.dataset.steps = facts.steps;
        chart.changed();
      }
    }
    this.#numbers(facts);
    this.#age();
  }

  /** Points come several times a second, the state every few: the step and the speed follow the points. */
  #step(points) {
    const last = points.findLast(({ values }) => "loss" in values);
    if (!last || !this.facts || last.step <= this.facts.step) return;
    this.facts = { ...this.facts, step: last.step, tokens_per_s: last.values.tokens_per_s ?? this.facts.tokens_per_s, eta_s: null };
    this.#numbers(this.facts);
  }

  #numbers({ step, steps, eta_s, tokens_per_s, progress }) {
    const ends = eta_s == null ? null : new Date(Date.now() + eta_s * 1000);
    const count = (value) => Math.round(value).toLocaleString();
    const shown = {
      step: steps ? { step: count(step), steps: count(steps) } : null,
      ends: ends && { time: ends.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" }) },
      speed: tokens_per_s ? { speed: count(tokens_per_s) } : null,
      caching: progress?.total ? { done: count(progress.done), total: count(progress.total) } : null,
    };
    for (const place of this.querySelectorAll("[data-live]")) {
      const values = shown[place.dataset.live];
      if (values) place.textContent = sentence(place.dataset.words, values);
    }
    const bars = { steps: [step, steps], caching: [progress?.done, progress?.total] };
    for (const bar of this.querySelectorAll("progress[data-bar]")) {
      const [value, max] = bars[bar.dataset.bar];
      if (max) Object.assign(bar, { max, value });
    }
  }

  #connection(how) {
    const place = this.querySelector("[data-connection]");
    if (!place) return;
    place.dataset.connection = how;
    this.#age();
  }

  #age() {
    const place = this.querySelector("[data-connection]");
    if (!place) return;
    const how = place.dataset.connection;
    const seconds = Math.max(0, Math.round((Date.now() - this.#heard) / 1000));
    const isSteady = (how === "live" || how === "polling") && this.#heard;
    const words = isSteady ? sentence(place.dataset.updated, { seconds }) : place.dataset[how === "signed-out" ? "signedOut" : how] ?? "";
    // A reader should hear of a lost connection, not of every second.
    place.setAttribute("aria-live", isSteady ? "off" : "polite");
    if (place.textContent !== words) place.textContent = words;
  }
}

customElements.define("run-live", RunLive);
