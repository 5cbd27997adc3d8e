/** The visitor's handwriting: a pad, what the model reads on it, and all ten digits and a number in that hand. */

import { withoutSpaces } from "./address.js";
import { NAMES, a, all, element, newSeed, paint, picture, sentence } from "./elements.js";
import { sheet } from "./files.js";
import { MAX_TEXT, SIDE, isNumber, toBytes } from "./generator.js";
import { Pad } from "./pad.js";
import { PictureError, WORKING_SIDE, greyOf, readPicture } from "./picture.js";
import { crc32 } from "./weights.js";

/**
 * @typedef {import("./elements.js").Shown} Shown
 * @typedef {import("./generator.js").DigitGenerator} DigitGenerator
 * @typedef {Float32Array<ArrayBuffer>} Digit  784 numbers
 */

/** Of drawings that are read with at least this probability, 99 in 100 are read right; below it, two in three. */
export const SURE = 0.95;
/** Below this probability, a drawing is more often a scribble than a digit. */
export const KNOWN = 0.5;

/**
 * Handwritings to begin with: a digit, a slider of style and its position.
 * @type {Record<string, [number, string, number]>}
 */
const SAMPLES = {
  "slanted 4": [4, "slant", 2], "upright 2": [2, "slant", -1.5],
  "wide 3": [3, "width", 1.5], "narrow 8": [8, "width", -2],
  "bold 5": [5, "thickness", 2], "fine 7": [7, "thickness", -2],
};

/**
 * What is said of a digit, and which digits it may be if that is in doubt.
 *
 * @param {ArrayLike<number>} likely  the probability of each digit
 * @returns {{words: string, choices: number[]}}
 */
export function reading(likely) {
  const order = [...NAMES.keys()].sort((one, other) => likely[other] - likely[one]);
  const [first, second] = order;
  if (likely[first] >= SURE) return { words: `I read ${a(first)}. Wrong?`, choices: [] };
  if (likely[first] < KNOWN) return { words: "I cannot tell which digit this is.", choices: order.slice(0, 3) };
  return { words: sentence(`${a(first)}, or ${a(second)}?`), choices: [first, second] };
}

/**
 * Grey values of a picture file, given as a data URL, of at most `WORKING_SIDE` pixels a side.
 * @param {string} url
 */
async function greyOfFile(url) {
  const file = new Image();
  file.src = url;
  await file.decode().catch(() => {
    throw new PictureError("the picture cannot be read: use a PNG or JPEG that other programs open");
  });
  const scale = Math.min(1, WORKING_SIDE / Math.max(file.naturalWidth, file.naturalHeight));
  const size = [file.naturalWidth, file.naturalHeight].map((side) => Math.max(1, Math.round(side * scale)));
  const [width, height] = size;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  Object.assign(pen, { fillStyle: "#fff", imageSmoothingQuality: "high" });
  pen.fillRect(0, 0, width, height); // transparent counts as white paper
  pen.drawImage(file, 0, 0, width, height);
  return greyOf(pen.getImageData(0, 0, width, height));
}

/** A digit as a picture's address. @param {Digit} image */
function urlOf(image) {
  const canvas = document.createElement("canvas");
  paint(canvas, picture(image), "");
  return canvas.toDataURL();
}

/** @param {string} text @param {() => void} act */
function button(text, act) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  made.onclick = act;
  return made;
}

export class Hand {
  /**
   * @param {DigitGenerator} gen
   * @param {Record<string, Shown>} shown  what the rows of buttons save
   * @param {() => Promise<void>} loadEncoder  rejected if it cannot be had
   */
  constructor(gen, shown, loadEncoder) {
    this.gen = gen;
    this.shown = shown;
    this.loadEncoder = loadEncoder;
    /** What was drawn or sent last. @type {{image: Digit, isPicture: boolean} | null} */
    this.mine = null;
    /** The sample that is chosen instead, or none. */
    this.sample = "";
    /** What the visitor says a digit is, for each sample, and under "" for `mine`. @type {Record<string, number>} */
    this.told = {};
    this.likely = new Float32Array(10);
    this.seed = newSeed();
    this.isWaiting = false;
    this.pad = new Pad(all(".pad")[0], { session: "", serial: 0, shown: "", said: "", limit: Infinity });
    this.pad.changed = () => this.soon();
    this.pad.send = ({ kind, picture: url }) => (kind === "picture" ? this.readFile(url) : this.readPad(true));
    element("told").onchange = () => this.tell(Number(element("told").value));
    element("my-number").oninput = () => this.write();
    all("[data-form=my-number]")[0].onsubmit = (/** @type {Event} */ event) => {
      event.preventDefault();
      this.seed = newSeed();
      this.write();
    };
    element("encoder-trouble").querySelector("button").onclick = () => this.open();
    this.makeSamples();
  }

  makeSamples() {
    const { styles } = this.gen;
    for (const name of Object.keys(SAMPLES).filter((sample) => styles.includes(SAMPLES[sample][1]))) {
      element("samples").append(button(name, () => this.choose(name === this.sample ? "" : name)));
    }
  }

  /** Fetch what reads digits, if it is not there, and show what it says. */
  async open() {
    const trouble = element("encoder-trouble");
    trouble.hidden = true;
    try {
      await this.loadEncoder();
      if (this.mine || this.sample) this.show();
      else this.readPad(true);
    } catch (reason) {
      const text = /** @type {Error} */ (reason).message;
      trouble.querySelector("p").textContent = sentence(`the page cannot read digits: ${text}`);
      trouble.hidden = false;
    }
  }

  /** A stroke grew: read it once the ink is on the screen. */
  soon() {
    if (this.isWaiting) return;
    this.isWaiting = true;
    requestAnimationFrame(() => setTimeout(() => {
      this.isWaiting = false;
      this.readPad(this.pad.pointer === null);
    }));
  }

  /** @param {boolean} isDone  whether the stroke has ended */
  readPad(isDone) {
    if (!this.gen.encoder) return;
    const { drawing, pen, shown } = this.pad;
    const { width, height } = pen.canvas;
    if (this.sample) this.mine = null; // a new drawing takes the sample's place
    this.sample = "";
    if (drawing.isEmpty) this.take(null);
    else if (!shown) this.read(greyOf(pen.getImageData(0, 0, width, height)), false, isDone);
    if (isDone) this.sayTo(this.pad);
  }

  /** @param {string} url  of a picture file */
  async readFile(url) {
    try {
      await this.loadEncoder();
      this.sample = "";
      this.read(await greyOfFile(url), true);
    } catch (reason) {
      this.warn(/** @type {Error} */ (reason).message);
    }
    this.sayTo(this.pad);
  }

  /**
   * @param {import("./picture.js").Plane} grey
   * @param {boolean} isPicture
   * @param {boolean} [isDone]  while a stroke grows, the first answer will do: others take ten times as long to find
   */
  read(grey, isPicture, isDone = true) {
    const certainty = (/** @type {Digit} */ image) => Math.max(...this.gen.probabilities(image));
    try {
      const image = readPicture(grey, isDone ? certainty : undefined);
      this.take({ image, isPicture });
    } catch (reason) {
      if (!(reason instanceof PictureError)) throw reason;
      this.warn(reason.message); // what was there stays
    }
  }

  /** @param {{image: Digit, isPicture: boolean} | null} digit */
  take(digit) {
    const goesOn = digit && this.mine && !digit.isPicture && !this.mine.isPicture;
    if (!goesOn) delete this.told[""]; // another digit, of which the visitor has said nothing yet
    this.mine = digit;
    this.warn("");
    this.show();
  }

  /** @param {string} name */
  choose(name) {
    this.sample = name;
    this.warn("");
    this.show();
    this.sayTo(this.pad);
  }

  /** @param {number} digit */
  tell(digit) {
    this.told[this.sample] = digit;
    this.show();
  }

  /** @param {string} message */
  warn(message) {
    element("hand-note").textContent = message && sentence(message);
  }

  /** The digit whose handwriting counts. @returns {Digit | null} */
  get digit() {
    if (!this.sample) return this.mine && this.mine.image;
    const [digit, style, value] = SAMPLES[this.sample];
    const ten = this.gen.inStyle(this.gen.styles.map((name) => (name === style ? value : 0)));
    return ten.slice(digit * SIDE * SIDE, (digit + 1) * SIDE * SIDE);
  }

  /** What the pad shows beside the drawing, and says to a screen reader. @param {Pad} pad */
  sayTo(pad) {
    const image = this.sample || this.mine?.isPicture ? this.digit : null;
    const said = this.digit ? element("read-words").textContent : "";
    pad.update({ ...pad.given, serial: pad.serial, shown: image ? urlOf(image) : "", said });
  }

  show() {
    const image = this.gen.encoder ? this.digit : null;
    for (const sample of all("#samples button")) {
      sample.setAttribute("aria-pressed", String(sample.textContent === this.sample));
    }
    element("hand-hint").hidden = image !== null;
    for (const id of ["hand-read", "hand-written", "hand-number"]) element(id).hidden = image === null;
    if (!image) return;
    this.likely = this.gen.probabilities(image);
    this.showReading(image);
    setTimeout(() => this.showTen(image)); // a task of its own: the pen must not wait for both
  }

  /** @param {Digit} image */
  showReading(image) {
    const told = this.told[this.sample];
    const { words, choices } = reading(this.likely);
    paint(element("mine"), picture(image), "The digit as the model sees it, 28×28 pixels");
    element("read-words").textContent = told === undefined ? words : `You say it is ${a(told)}.`;
    element("told").value = told === undefined ? "" : String(told);
    const buttons = told === undefined ? choices : [];
    element("choices").replaceChildren(...buttons.map((digit) => button(`It is ${a(digit)}`, () => this.tell(digit))));
    this.image = image;
  }

  /** What the digit counts as. */
  get shows() {
    return this.told[this.sample] ?? this.likely.indexOf(Math.max(...this.likely));
  }

  /** @param {Digit} image */
  showTen(image) {
    if (image !== this.image) return; // there is a newer one
    try {
      const ten = toBytes(this.gen.restyle(image, this.shows));
      paint(element("ten"), sheet(ten, 5), "All ten digits, zero to nine, in this handwriting");
      const name = `my-${this.shows}-${crc32(toBytes(image)).toString(16).padStart(8, "0")}`;
      this.shown.ten = { name, picture: sheet(ten, 10), images: ten, labels: [...NAMES.keys()] };
      this.write();
    } catch (reason) {
      for (const id of ["hand-written", "hand-number"]) element(id).hidden = true;
      this.warn(/** @type {Error} */ (reason).message);
    }
  }

  /** The number in this handwriting. */
  write() {
    const number = withoutSpaces(element("my-number").value);
    const isOne = isNumber(number);
    element("my-number-note").textContent = isOne ? "" : `A number is 1 to ${MAX_TEXT} digits from 0 to 9.`;
    if (!isOne || !this.image) return;
    const { seed, image } = this;
    const line = picture(this.gen.write(number, { seed, hand: image, digit: this.shows }), SIDE * number.length);
    paint(element("my-line"), line, `The number ${number} in this handwriting`);
    element("my-line").style.width = `${56 * number.length}px`;
    this.shown["my-line"] = { name: `${number}-in-my-hand`, picture: line };
  }
}
