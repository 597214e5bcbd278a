// What every chart shares: colours from the tokens, drawing once a frame and only when seen, saving as a file.

import uPlot from "uplot";

export { uPlot };

export const token = (element, name) => getComputedStyle(element).getPropertyValue(name).trim();

export function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** An element that holds one uPlot: subclasses say `build(width)` (a new plot), `fill(plot)` (data in) and `told()`. */
export class Chart extends HTMLElement {
  plot = null;
  #isWanted = false;
  #isSeen = false;
  #frame = 0;

  connectedCallback() {
    this.#resize = new ResizeObserver(([{ contentRect }]) => {
      if (this.plot && contentRect.width > 0) this.plot.setSize({ width: contentRect.width, height: this.plot.height });
    });
    this.#sight = new IntersectionObserver(([entry]) => {
      this.#isSeen = entry.isIntersecting;
      this.#ask();
    }, { rootMargin: "200% 0px" }); // a little beyond the window: who scrolls finds it drawn
    this.#theme = new MutationObserver(() => this.rebuild());
    this.#theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "class"] });
    this.#dark = matchMedia("(prefers-color-scheme: dark)");
    this.#dark.addEventListener("change", this.#repaint);
    document.addEventListener("visibilitychange", this.#ask);
    this.#sight.observe(this);
    this.#resize.observe(this.canvas);
    this.changed();
  }

  disconnectedCallback() {
    for (const observer of [this.#resize, this.#sight, this.#theme]) observer?.disconnect();
    this.#dark?.removeEventListener("change", this.#repaint);
    document.removeEventListener("visibilitychange", this.#ask);
    cancelAnimationFrame(this.#frame);
    this.plot?.destroy();
    this.plot = null;
  }

  #resize;
  #sight;
  #theme;
  #dark;
  #repaint = () => this.rebuild();
  #ask = () => {
    if (!this.#isWanted || !this.#isSeen || document.hidden || this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#isWanted = false;
      this.#draw();
    });
  };

  /** The part of this element that the plot stands in. */
  get canvas() {
    return this;
  }

  /** There is something new to draw: at the next frame, if anybody can see it. */
  changed() {
    this.#isWanted = true;
    this.#ask();
  }

  rebuild() {
    this.plot?.destroy();
    this.plot = null;
    this.changed();
  }

  #draw() {
    const width = this.canvas.clientWidth;
    if (!width) return;
    this.plot ??= this.build(width);
    this.fill(this.plot);
    this.told();
  }

  told() {}
}
