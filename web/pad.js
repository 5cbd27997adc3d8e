/**
 * A pad to draw a digit on: white ink on black, like MNIST's.
 *
 * A page calls `createPad` on the markup of pad.html. Streamlit calls the default export, at every run of the app.
 */

/** Pixels of the pad's side: ten for each of MNIST's. */
export const SIDE = 280;
/** Width of a stroke in pixels of the pad. */
export const PEN = 22;
/** A point nearer to the last one than this, in pixels of the pad, adds nothing to a stroke. */
const STEP = 2;
/** Side that a larger picture file is reduced to before it is sent. */
const REDUCED = 1024;
/** Formats that the server reads. */
const KNOWN = /^image\/(png|jpeg|webp|bmp|gif)$/;

/**
 * @typedef {[x: number, y: number]} Point  pixels of the pad
 *
 * @typedef {object} Sent  what the pad tells the page
 * @property {"drawing" | "picture" | "nothing"} kind
 * @property {number} serial  counts what was sent
 * @property {string} picture  the drawing or the picture file as a data URL; empty if `kind` is "nothing"
 *
 * @typedef {object} Given  what the page tells the pad
 * @property {string} session  changes when the server has forgotten the drawing, as after a restart
 * @property {number} serial  of what was sent last, as far as the page knows
 * @property {string} shown  data URL of a picture that stands on the pad instead of the drawing, or empty
 * @property {string} said  for screen readers: how the digit was read
 * @property {number} limit  bytes that a picture file may have
 */

/** Strokes, each a list of points. */
export class Drawing {
  constructor() {
    /** @type {Point[][]} */
    this.strokes = [];
  }

  get isEmpty() {
    return this.strokes.length === 0;
  }

  /** @param {Point} point */
  begin(point) {
    this.strokes.push([inside(point)]);
  }

  /** @param {Point} point */
  extend(point) {
    const stroke = this.strokes[this.strokes.length - 1];
    const [x, y] = inside(point);
    const [lastX, lastY] = stroke[stroke.length - 1];
    if (Math.hypot(x - lastX, y - lastY) >= STEP) stroke.push([x, y]);
  }

  undo() {
    this.strokes.pop();
  }

  clear() {
    this.strokes = [];
  }
}

/** @param {Point} point @returns {Point} */
function inside([x, y]) {
  return [clamp(x), clamp(y)];
}

/** @param {number} v */
function clamp(v) {
  return Math.min(Math.max(Math.round(v), 0), SIDE);
}

/**
 * White strokes on black.
 *
 * @param {CanvasRenderingContext2D} pen  of a canvas of `SIDE` by `SIDE` pixels
 * @param {Drawing} drawing
 */
export function paint(pen, drawing) {
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, SIDE, SIDE);
  Object.assign(pen, { fillStyle: "#fff", strokeStyle: "#fff", lineWidth: PEN, lineCap: "round", lineJoin: "round" });
  for (const stroke of drawing.strokes) {
    pen.beginPath();
    if (stroke.length === 1) pen.arc(...stroke[0], PEN / 2, 0, 2 * Math.PI); // a line of no length may be left out
    for (const point of stroke) pen.lineTo(...point);
    if (stroke.length === 1) pen.fill();
    else pen.stroke();
  }
}

/**
 * A picture file as a data URL of at most `limit` bytes. A large picture, as a telephone takes it, is reduced; one that the
 * browser cannot read is left as it is, and to the server.
 *
 * @param {File} file
 * @param {number} limit
 * @returns {Promise<string>} rejected if there is no way to make the file small enough
 */
export async function readFile(file, limit) {
  const small = await reduce(file, limit).catch(() => file);
  if (small.size > limit) throw new RangeError("the file is too large");
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(small);
  });
}

/**
 * @param {File} file
 * @param {number} limit
 * @returns {Promise<Blob>} the file if it is small and of a known format, else a PNG if parts of it are transparent and
 *   there is room, else a JPEG on white
 */
async function reduce(file, limit) {
  const picture = await createImageBitmap(file);
  const scale = Math.min(1, REDUCED / Math.max(picture.width, picture.height));
  if (scale === 1 && file.size <= limit && KNOWN.test(file.type)) return file;
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  const pen = context(canvas);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
  if (isTransparent(pen, canvas)) {
    const whole = await encode(canvas, "image/png");
    if (whole.size <= limit) return whole;
  }
  pen.globalCompositeOperation = "destination-over"; // white paper below
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  const fine = await encode(canvas, "image/jpeg", 0.9);
  return fine.size <= limit ? fine : encode(canvas, "image/jpeg", 0.4);
}

/** @param {CanvasRenderingContext2D} pen @param {HTMLCanvasElement} canvas @returns {boolean} */
function isTransparent(pen, canvas) {
  const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 3; i < data.length; i += 4) if (data[i] < 128) return true;
  return false;
}

/** @param {HTMLCanvasElement} canvas @param {string} type @param {number} [quality] @returns {Promise<Blob>} */
function encode(canvas, type, quality) {
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture"))), type, quality);
  });
}

/** @param {HTMLCanvasElement} canvas @returns {CanvasRenderingContext2D} */
function context(canvas) {
  const found = canvas.getContext("2d", { willReadFrequently: true });
  if (!found) throw new Error("this browser cannot draw");
  return found;
}

/** The drawing, the tools beside it, and what is told to the page. */
export class Pad {
  /**
   * @param {HTMLElement} root  the markup of pad.html
   * @param {Given} given
   * @param {Drawing} drawing  to begin with
   */
  constructor(root, given, drawing = new Drawing()) {
    /** Called when a stroke ends, a picture is chosen, or the pad is cleared. @type {(sent: Sent) => void} */
    this.send = () => {};
    /** Called whenever a stroke has grown. */
    this.changed = () => {};
    this.given = given;
    this.serial = given.serial;
    this.drawing = drawing;
    /** @type {HTMLImageElement | null} */
    this.picture = null;
    this.shown = "";
    /** @type {number | null} */
    this.pointer = null;

    this.canvas = /** @type {HTMLCanvasElement} */ (root.querySelector("canvas"));
    this.hint = /** @type {HTMLElement} */ (root.querySelector(".pad-hint"));
    this.note = /** @type {HTMLElement} */ (root.querySelector(".pad-note"));
    this.said = /** @type {HTMLElement} */ (root.querySelector(".pad-said"));
    this.undo = /** @type {HTMLButtonElement} */ (root.querySelector("[data-act=undo]"));
    this.clear = /** @type {HTMLButtonElement} */ (root.querySelector("[data-act=clear]"));
    this.file = /** @type {HTMLInputElement} */ (root.querySelector("input[type=file]"));
    this.pen = context(this.canvas);

    this.canvas.onpointerdown = (event) => this.press(event);
    this.canvas.onpointermove = (event) => this.move(event);
    this.canvas.onpointerup = (event) => this.lift(event);
    this.canvas.onpointercancel = (event) => this.lift(event);
    this.undo.onclick = () => this.takeBack();
    this.clear.onclick = () => this.wipe();
    this.file.onchange = () => this.choose();
    this.update(given);
  }

  /**
   * What the page has to say. It counts only once the page knows what was sent last: an older answer must not undo that.
   *
   * @param {Given} given
   */
  update(given) {
    this.given = given;
    if (this.pointer !== null || given.serial !== this.serial) return;
    this.said.textContent = given.said;
    if (given.shown !== this.shown) this.show(given.shown);
    this.render();
  }

  /** @param {string} shown */
  show(shown) {
    this.shown = shown;
    this.picture = null;
    if (!shown) return;
    const picture = new Image();
    picture.onload = () => {
      if (this.shown !== shown) return; // another one was chosen while this one was read
      this.picture = picture;
      this.render();
    };
    picture.src = shown;
  }

  render() {
    paint(this.pen, this.shown ? new Drawing() : this.drawing);
    if (this.picture) {
      this.pen.imageSmoothingEnabled = false; // 28 pixels stay 28 crisp squares
      this.pen.drawImage(this.picture, 0, 0, SIDE, SIDE);
    }
    const strokes = this.shown ? 0 : this.drawing.strokes.length;
    this.hint.hidden = strokes > 0 || this.shown !== "";
    this.undo.disabled = strokes === 0;
    this.clear.disabled = this.hint.hidden === false;
    this.canvas.setAttribute("aria-label", describe(strokes, this.shown !== ""));
  }

  /** @param {PointerEvent} event @returns {Point} */
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.x) * SIDE) / box.width, ((event.clientY - box.y) * SIDE) / box.height];
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (event.button !== 0 || this.pointer !== null) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pointer = event.pointerId;
    if (this.shown) this.drawing.clear(); // nobody sees it under the picture: a new one begins
    this.show("");
    this.note.textContent = "";
    this.drawing.begin(this.place(event));
    this.render();
    this.changed();
  }

  /** @param {PointerEvent} event */
  move(event) {
    if (this.pointer !== event.pointerId) return;
    for (const step of event.getCoalescedEvents?.() ?? []) this.drawing.extend(this.place(step));
    this.drawing.extend(this.place(event));
    this.render();
    this.changed();
  }

  /** @param {PointerEvent} event */
  lift(event) {
    if (this.pointer !== event.pointerId) return;
    this.pointer = null;
    this.tell();
  }

  takeBack() {
    this.drawing.undo();
    this.render();
    this.tell();
  }

  wipe() {
    this.drawing.clear();
    this.show("");
    this.note.textContent = "";
    this.render();
    this.tell();
  }

  /** Send the drawing as it is now. */
  tell() {
    const kind = this.drawing.isEmpty ? "nothing" : "drawing";
    const picture = this.drawing.isEmpty ? "" : this.canvas.toDataURL("image/png");
    this.send({ kind, serial: ++this.serial, picture });
  }

  /** Send the picture file that was chosen. */
  async choose() {
    const [file] = this.file.files ?? [];
    if (!file) return;
    this.note.textContent = "";
    try {
      const picture = await readFile(file, this.given.limit);
      this.send({ kind: "picture", serial: ++this.serial, picture });
    } catch {
      const kilobytes = Math.floor(this.given.limit / 2 ** 10);
      this.note.textContent = `This file is larger than ${kilobytes} kB, and your browser cannot make it smaller.`;
    }
    this.file.value = ""; // the same file may be chosen again
  }
}

/** @param {number} strokes @param {boolean} hasPicture */
function describe(strokes, hasPicture) {
  if (hasPicture) return "Pad to draw a digit on. It shows a picture.";
  if (strokes) return `Pad to draw a digit on. It has ${strokes} ${strokes === 1 ? "stroke" : "strokes"}.`;
  return "Pad to draw a digit on, with a mouse, a pen or a finger. A picture or a sample will do instead.";
}

/** @type {WeakMap<Element, Pad>} */
const pads = new WeakMap();
/** Outlives the markup, which Streamlit takes away when the visitor opens another tab. */
const kept = { drawing: new Drawing(), session: "" };

/**
 * The pad in Streamlit.
 *
 * @param {object} component
 * @param {ParentNode} component.parentElement
 * @param {Given} component.data
 * @param {(name: string, value: Sent) => void} component.setTriggerValue
 */
export default function streamlitPad({ parentElement, data, setTriggerValue }) {
  const root = /** @type {HTMLElement} */ (parentElement.querySelector(".pad"));
  const pad = pads.get(root) ?? new Pad(root, data, kept.drawing);
  pads.set(root, pad);
  pad.send = (sent) => setTriggerValue("sent", sent);
  pad.update(data);
  if (data.session !== kept.session && !kept.drawing.isEmpty && !data.shown) pad.tell(); // to a server that was restarted
  kept.session = data.session;
}
