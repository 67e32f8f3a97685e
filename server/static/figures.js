// The figures under the face, the moving ones with their last 40 seconds as a line.

import { say } from "./texts.js";

const POINTS = 40;
const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [POINTS - 1, 20];

class Figure {
  #value; #item; #line = null; #area; #history = []; #range;

  /** `range` is what the line shows, from bottom to top; without one there is no line. */
  constructor(list, name, range) {
    this.#item = list.appendChild(document.createElement("li"));
    this.#item.id = `fact-${name}`;
    this.#value = this.#item.appendChild(document.createElement("b"));
    this.#item.append(say(`fact.${name}`));
    this.#range = range;
    if (range) this.#plot();
    this.clear();
  }

  clear() {
    this.#history = [];
    this.#value.textContent = say("none");
    this.#item.removeAttribute("data-mark");
    this.#line?.setAttribute("points", "");
    this.#area?.setAttribute("points", "");
  }

  /** `text` is shown, `number` goes on the line, `mark` (good, fair, bad) colours it. */
  show(text, number = null, mark = "") {
    this.#value.textContent = text;
    this.#item.dataset.mark = mark;
    if (!this.#line || number === null) return;
    this.#history = [...this.#history, number].slice(-POINTS);
    const [low, high] = this.#range;
    const from = POINTS - this.#history.length;
    const points = this.#history.map((each, i) => {
      const up = Math.max(0, Math.min(1, (each - low) / (high - low)));
      return `${from + i},${(HEIGHT - 1 - up * (HEIGHT - 2)).toFixed(2)}`;
    });
    this.#line.setAttribute("points", points.join(" "));
    this.#area.setAttribute("points", `${from},${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}`);
  }

  #plot() {
    const plot = this.#item.appendChild(document.createElementNS(SVG, "svg"));
    plot.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    plot.setAttribute("preserveAspectRatio", "none");
    plot.setAttribute("aria-hidden", "true");
    this.#area = plot.appendChild(document.createElementNS(SVG, "polygon"));
    this.#line = plot.appendChild(document.createElementNS(SVG, "polyline"));
  }
}

export class Figures {
  #all;

  constructor(list) {
    const ranges = { fps: [0, 30], drift: [-80, 80], buffered: [0, 1.5], first: null, quality: null, dropped: null };
    this.#all = Object.fromEntries(Object.entries(ranges).map(([name, range]) => [name, new Figure(list, name, range)]));
  }

  clear() {
    for (const figure of Object.values(this.#all)) figure.clear();
  }

  first(ms) {
    this.#all.first.show(`${Math.round(ms)} ms`, null, ms <= 500 ? "good" : "fair");
  }

  /** What the player tells, once a second. */
  played(fps, bufferedS, dropped) {
    this.#all.fps.show(fps.toFixed(1), fps, fps >= 23 ? "good" : fps >= 12 ? "fair" : "bad");
    this.#all.buffered.show(`${bufferedS.toFixed(2)} s`, bufferedS);
    this.#all.dropped.show(String(dropped));
  }

  /** What the server tells, once a second. */
  told({ drift_ms: drift, crf, rate_divisor: divisor }) {
    const mark = Math.abs(drift) <= 40 ? "good" : Math.abs(drift) <= 80 ? "fair" : "bad";
    this.#all.drift.show(`${drift.toFixed(1)} ms`, drift, mark);
    this.#all.quality.show(say(divisor > 1 ? "quality.every" : "quality.crf", { crf, divisor }));
  }
}
