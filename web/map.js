/**
 * A map of handwritings to point at: an island of dots for each digit.
 *
 * A page calls `new LatentMap` on the markup of map.html. Streamlit calls the default export, at every run of the app.
 */

/** Pixels of the canvas' side. */
const SIDE = 800;
/** Radius of an island. */
export const SHORE = 1;
/** Distance from the outermost islands' centres to the edge of the map. */
const MARGIN = 1.15;
/** Milliseconds between two messages to the page while a pointer moves. */
const PAUSE = 100;
/** One for each digit. */
const COLOURS = [
  "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#9c755f", "#ff9da7", "#8a8f98", "#c9a227", "#3ba7a0",
];

/**
 * @typedef {[x: number, y: number]} Point  east and north
 *
 * @typedef {object} Given  what the page tells the map
 * @property {[x: number, y: number, digit: number][]} points  handwritings
 * @property {Point[]} islands  centre of each digit's island
 * @property {Point} at  the point that is shown at first
 * @property {number} [pause]  milliseconds between two messages while a pointer moves, by default for a page with a
 *   server
 */

/** The square of the plane that a map shows: its middle, and half its side. */
export class Extent {
  /** @param {Point[]} islands */
  constructor(islands) {
    const [west, south] = [0, 1].map((axis) => Math.min(...islands.map((island) => island[axis])) - MARGIN);
    const [east, north] = [0, 1].map((axis) => Math.max(...islands.map((island) => island[axis])) + MARGIN);
    /** @type {Point} */
    this.middle = [(west + east) / 2, (south + north) / 2];
    this.half = Math.max(east - west, north - south) / 2;
  }

  /** @param {Point} point @returns {Point} shares of the map's side, from its upper left corner */
  toShare([x, y]) {
    return [0.5 + (x - this.middle[0]) / (2 * this.half), 0.5 - (y - this.middle[1]) / (2 * this.half)];
  }

  /** @param {Point} share @returns {Point} */
  fromShare([across, down]) {
    return [this.middle[0] + (across - 0.5) * 2 * this.half, this.middle[1] - (down - 0.5) * 2 * this.half];
  }

  /** @param {Point} point @returns {Point} the nearest point on the map */
  clamp([x, y]) {
    const [east, north] = this.middle;
    return [within(x, east - this.half, east + this.half), within(y, north - this.half, north + this.half)];
  }
}

/** @param {number} v @param {number} low @param {number} high */
function within(v, low, high) {
  return Math.min(Math.max(v, low), high);
}

/**
 * Where a point lies, in words.
 *
 * @param {Point} point
 * @param {Point[]} islands
 */
export function describe([x, y], islands) {
  const distances = islands.map((island) => Math.hypot(x - island[0], y - island[1]));
  const nearest = Math.min(...distances);
  const digit = distances.indexOf(nearest);
  return nearest <= SHORE ? `on the island of ${digit}` : `nearest: ${digit}`;
}

/** The map, the two sliders below it, and the point that is chosen. */
export class LatentMap {
  /**
   * @param {HTMLElement} root  the markup of map.html
   * @param {Given} given
   */
  constructor(root, given) {
    /** Called with the point that is chosen. @type {(at: Point) => void} */
    this.send = () => {};
    this.given = given;
    this.extent = new Extent(given.islands);
    this.at = this.extent.clamp(given.at);
    /** @type {number | null} */
    this.pointer = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.waiting = undefined;

    this.canvas = /** @type {HTMLCanvasElement} */ (root.querySelector("canvas"));
    this.sliders = [...root.querySelectorAll("input")];
    this.canvas.onpointerdown = (event) => this.press(event);
    this.canvas.onpointermove = (event) => this.move(event);
    this.canvas.onpointerup = this.canvas.onpointercancel = () => {
      this.pointer = null;
    };
    this.sliders.forEach((slider, axis) => {
      slider.min = String(this.extent.middle[axis] - this.extent.half);
      slider.max = String(this.extent.middle[axis] + this.extent.half);
      slider.oninput = () => this.slide(axis, Number(slider.value));
    });
    this.render();
  }

  /** @param {Given} given  the dots and islands; the point that the visitor chose stays */
  update(given) {
    this.given = given;
    this.render();
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pointer = event.pointerId;
    this.go(this.place(event));
  }

  /** @param {PointerEvent} event */
  move(event) {
    if (this.pointer === event.pointerId) this.go(this.place(event));
  }

  /** @param {PointerEvent} event @returns {Point} */
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return this.extent.fromShare([(event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height]);
  }

  /** @param {number} axis @param {number} value */
  slide(axis, value) {
    this.go(axis === 0 ? [value, this.at[1]] : [this.at[0], value]);
  }

  /** @param {Point} point */
  go(point) {
    this.at = this.extent.clamp(point);
    this.render();
    this.waiting ??= setTimeout(() => {
      this.waiting = undefined;
      this.send(this.at);
    }, this.given.pause ?? PAUSE);
  }

  render() {
    const pen = this.canvas.getContext("2d");
    if (!pen) return;
    const { color, backgroundColor } = getComputedStyle(this.canvas);
    pen.clearRect(0, 0, SIDE, SIDE);
    this.drawDots(pen);
    this.drawCross(pen, color, backgroundColor);
    this.drawNumerals(pen, color, backgroundColor);
    this.sliders.forEach((slider, axis) => {
      slider.value = String(this.at[axis]);
      slider.setAttribute("aria-valuetext", `${this.at[axis].toFixed(1)}, ${describe(this.at, this.given.islands)}`);
    });
  }

  /** @param {Point} point @returns {Point} pixels of the canvas */
  onCanvas(point) {
    const [across, down] = this.extent.toShare(point);
    return [across * SIDE, down * SIDE];
  }

  /** @param {CanvasRenderingContext2D} pen */
  drawDots(pen) {
    for (const [x, y, digit] of this.given.points) {
      pen.fillStyle = COLOURS[digit];
      pen.beginPath();
      pen.arc(...this.onCanvas([x, y]), 3.5, 0, 2 * Math.PI);
      pen.fill();
    }
  }

  /** @param {CanvasRenderingContext2D} pen @param {string} ink @param {string} paper */
  drawNumerals(pen, ink, paper) {
    Object.assign(pen, { fillStyle: ink, strokeStyle: paper, lineWidth: 9, lineJoin: "round" });
    Object.assign(pen, { font: "600 44px Georgia, serif", textAlign: "center", textBaseline: "middle" });
    this.given.islands.forEach((island, digit) => {
      pen.strokeText(String(digit), ...this.onCanvas(island));
      pen.fillText(String(digit), ...this.onCanvas(island));
    });
  }

  /** @param {CanvasRenderingContext2D} pen @param {string} ink @param {string} paper */
  drawCross(pen, ink, paper) {
    const [x, y] = this.onCanvas(this.at);
    pen.beginPath();
    pen.arc(x, y, 30, 0, 2 * Math.PI); // around a numeral, which stays readable
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      pen.moveTo(x + 30 * dx, y + 30 * dy);
      pen.lineTo(x + 44 * dx, y + 44 * dy);
    }
    Object.assign(pen, { strokeStyle: paper, lineWidth: 12, lineCap: "round" }); // a border that sets it off from the dots
    pen.stroke();
    Object.assign(pen, { strokeStyle: ink, lineWidth: 5 });
    pen.stroke();
  }
}

/** @type {WeakMap<Element, LatentMap>} */
const maps = new WeakMap();
/** Outlives the markup, which Streamlit takes away when the visitor opens another tab. @type {Point | undefined} */
let kept;

/**
 * The map in Streamlit.
 *
 * @param {object} component
 * @param {ParentNode} component.parentElement
 * @param {Given} component.data
 * @param {(name: string, value: Point) => void} component.setStateValue
 */
export default function streamlitMap({ parentElement, data, setStateValue }) {
  const root = /** @type {HTMLElement} */ (parentElement.querySelector(".map"));
  const map = maps.get(root) ?? new LatentMap(root, { ...data, at: kept ?? data.at });
  maps.set(root, map);
  map.send = (at) => {
    kept = at;
    setStateValue("at", at);
  };
  map.update(data);
}
