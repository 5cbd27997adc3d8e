/**
 * Pictures and drawings of a digit, converted to MNIST's format: Python's `mnist_vae.picture`, pixel by pixel.
 *
 * Where names are those of Python's functions, so is what they do.
 */

/** Side of an image. */
const SIDE = 28;
/** Pixels of the longer side while ink is looked for. */
export const WORKING_SIDE = 384;
/** Pixels of 28×28: thinner strokes are widened to that. */
const STROKE = 1.6;
/** By how much likelihood another answer must beat the first. */
const LEAD = 0.4;

/** A picture that cannot be used; the message says what is wrong, for whoever sent it. */
export class PictureError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "PictureError";
  }
}

/**
 * Numbers of the pixels of a picture, row by row: grey values from 0 to 255, or ink from 0 to 1.
 *
 * @typedef {object} Plane
 * @property {Float64Array} values
 * @property {number} width
 * @property {number} height
 *
 * @typedef {object} Box  the last row and column are excluded
 * @property {number} top
 * @property {number} bottom
 * @property {number} left
 * @property {number} right
 *
 * @typedef {Box & {mass: number, runs: Run[]}} Part  what is connected
 * @typedef {[row: number, first: number, after: number]} Run  the last column is excluded
 */

/** @param {Plane} plane @param {(value: number) => number} change @returns {Plane} */
function mapped({ values, width, height }, change) {
  return { values: values.map(change), width, height };
}

/** @param {Plane} plane @param {Box} box @returns {Plane} */
function cut({ values, width }, { top, bottom, left, right }) {
  const part = { values: new Float64Array((bottom - top) * (right - left)), width: right - left, height: bottom - top };
  for (let y = top; y < bottom; y++) {
    part.values.set(values.subarray(y * width + left, y * width + right), (y - top) * part.width);
  }
  return part;
}

// Loops, not methods of arrays, wherever all pixels are looked at: this follows the pen.

/** @param {Float64Array} values @returns {[smallest: number, largest: number]} */
function range(values) {
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < values.length; i++) {
    if (values[i] < low) low = values[i];
    if (values[i] > high) high = values[i];
  }
  return [low, high];
}

/** How many are above, or at, a limit. @param {Float64Array} values @param {number} limit @param {boolean} [at] */
function count(values, limit, at = false) {
  let n = 0;
  for (let i = 0; i < values.length; i++) if (values[i] > limit || (at && values[i] === limit)) n++;
  return n;
}

/** @param {ArrayLike<number>} values */
function total(values) {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum;
}

/** To the nearest whole number, half to even. @param {number} value */
function rounded(value) {
  const down = Math.floor(value);
  const rest = value - down;
  if (rest === 0.5) return down + (down % 2);
  return rest > 0.5 ? down + 1 : down;
}

/** As NumPy's, with linear interpolation. @param {Float64Array} values @param {number} share */
function quantile(values, share) {
  const top = range(values)[1];
  const at = share * (values.length - 1);
  const low = Math.floor(at);
  if (count(values, top, true) >= values.length - low) return top; // nothing to sort
  const sorted = values.slice().sort();
  return sorted[low] + (at - low) * (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]);
}

/** @param {ArrayLike<number>} values */
function median(values) {
  return quantile(Float64Array.from(values), 0.5);
}

/** The outermost pixels, corners twice. @param {Plane} plane */
function sides({ values, width, height }) {
  const columns = Array.from({ length: height }, (_, y) => y * width);
  const left = columns.map((at) => values[at]);
  const right = columns.map((at) => values[at + width - 1]);
  return [[...values.subarray(0, width)], [...values.subarray((height - 1) * width)], left, right];
}

/**
 * The smallest box around what is above a limit, or null if nothing is.
 *
 * @param {Plane} plane
 * @param {number} limit
 * @returns {Box | null}
 */
function boxOf({ values, width, height }, limit) {
  const box = { top: height, bottom: 0, left: width, right: 0 };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!(values[y * width + x] > limit)) continue;
      box.top = Math.min(box.top, y);
      box.bottom = y + 1;
      box.left = Math.min(box.left, x);
      box.right = Math.max(box.right, x + 1);
    }
  }
  return box.bottom ? box : null;
}

/** @param {Plane} ink */
function cropped(ink) {
  const box = boxOf(ink, 0);
  if (!box) throw new PictureError("the picture shows no digit: draw or photograph one with more contrast");
  return cut(ink, box);
}

// --- to 28×28 ---

/** @param {number} x */
function boxFilter(x) {
  return x > -0.5 && x <= 0.5 ? 1 : 0;
}

/** @param {number} x */
function cubicFilter(x) {
  const t = Math.abs(x);
  if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
  return t < 2 ? (((t - 5) * t + 8) * t - 4) * -0.5 : 0;
}

/**
 * What makes each of `size` pixels of `length`, as Pillow resizes: the first pixel, and the weights from there.
 *
 * @param {number} length
 * @param {number} size
 * @returns {[first: number, weights: number[]][]}
 */
function recipes(length, size) {
  const scale = length / size;
  const [filter, reach] = /** @type {[(x: number) => number, number]} */ (
    scale > 1 ? [boxFilter, 0.5 * scale] : [cubicFilter, 2]);
  const stretch = Math.max(scale, 1);
  return Array.from({ length: size }, (_, i) => {
    const middle = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(middle - reach + 0.5), 0);
    const after = Math.min(Math.trunc(middle + reach + 0.5), length);
    const weights = Array.from({ length: after - first }, (__, j) => filter((j + first - middle + 0.5) / stretch));
    const whole = weights.reduce((sum, weight) => sum + weight, 0);
    return [first, weights.map((weight) => weight / whole)];
  });
}

/** @param {Plane} plane @param {number} width @param {number} height @returns {Plane} */
function resized(plane, width, height) {
  const across = turned(resizedRows(plane, width));
  return turned(resizedRows(across, height));
}

/** @param {Plane} plane @param {number} size @returns {Plane} */
function resizedRows({ values, width, height }, size) {
  if (size === width) return { values, width, height };
  const steps = recipes(width, size);
  const made = new Float64Array(size * height);
  for (let y = 0; y < height; y++) {
    steps.forEach(([first, weights], x) => {
      let sum = 0;
      weights.forEach((weight, j) => {
        sum += weight * values[y * width + first + j];
      });
      made[y * size + x] = Math.fround(sum);
    });
  }
  return { values: made, width: size, height };
}

/** Rows as columns. @param {Plane} plane @returns {Plane} */
function turned({ values, width, height }) {
  const made = new Float64Array(values.length);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) made[x * height + y] = values[y * width + x];
  return { values: made, width: height, height: width };
}

/** Ink resized so that its longer side has 20 pixels: averaged if it shrinks, else bicubic. @param {Plane} ink */
function scaled(ink) {
  const scale = 20 / Math.max(ink.width, ink.height);
  const [width, height] = [ink.width, ink.height].map((side) => Math.max(rounded(side * scale), 1));
  return mapped(resized(ink, width, height), (value) => Math.min(Math.max(value, 0), 1));
}

/**
 * Where ink of `n` rows or columns starts if its centre of mass falls into pixel 14, as in MNIST.
 * @param {Float64Array} mass  of each
 */
function start(mass) {
  const middle = mass.reduce((sum, value, i) => sum + value * i, 0) / total(mass);
  return Math.min(Math.max(Math.ceil(13.5 - middle - TIE), 0), SIDE - mass.length);
}

/** A centre of mass half way between two pixels but for rounding errors, as that of a straight 1, is half way. */
const TIE = 1e-4;

/**
 * Ink, 1 where there is most, scaled and centred as MNIST's digits are.
 *
 * @param {Plane} ink
 * @returns {Float32Array<ArrayBuffer>} 784
 */
export function centre(ink) {
  const small = scaled(cropped(ink));
  const { values, width, height } = small;
  const columns = new Float64Array(width);
  const rows = new Float64Array(height);
  values.forEach((value, i) => {
    columns[i % width] += value;
    rows[Math.floor(i / width)] += value;
  });
  const [top, left] = [start(rows), start(columns)];
  const page = new Float32Array(SIDE * SIDE);
  for (let y = 0; y < height; y++) page.set(values.subarray(y * width, (y + 1) * width), (top + y) * SIDE + left);
  return page;
}

// --- ink and paper ---

/**
 * Grey values, dark on light or light on dark → ink. Nothing but zeros if the picture shows only paper.
 *
 * @param {Plane} grey
 */
export function findInk(grey) {
  const paper = median(sides(grey).flat());
  const [low, high] = range(grey.values);
  const sign = Math.abs(low - paper) > high - paper ? -1 : 1;
  const difference = mapped(grey, (value) => sign * (value - paper));
  const isMuch = count(difference.values, 24) > 0.001 * difference.values.length;
  const most = isMuch ? quantile(difference.values, 0.999) : range(difference.values)[1];
  if (most < 24) return mapped(grey, () => 0); // grain: less than a tenth of the way from black to white
  return mapped(difference, (value) => Math.min(Math.max((value / most - 0.3) / 0.6, 0), 1));
}

/** The average of 3×3 pixels, the outermost ones repeated. @param {Plane} plane @returns {Plane} */
function smoothed(plane) {
  const across = turned(smoothedRows(plane));
  return turned(smoothedRows(across));
}

/** @param {Plane} plane @returns {Plane} */
function smoothedRows({ values, width, height }) {
  const made = values.map((value, i) => {
    const x = i % width;
    return (values[x ? i - 1 : i] + value + values[x < width - 1 ? i + 1 : i]) / 3;
  });
  return { values: made, width, height };
}

/**
 * The largest of all pixels that are at most `reach` away, to the side, up and down.
 * @param {Plane} plane
 * @param {number} reach
 */
function largestNear(plane, reach) {
  return turned(largestInRows(turned(largestInRows(plane, reach)), reach));
}

/**
 * The same in rows: the largest of 1, 2, 4, … pixels is that of two halves.
 *
 * @param {Plane} plane
 * @param {number} reach
 * @returns {Plane}
 */
function largestInRows({ values, width, height }, reach) {
  const wanted = 2 * reach + 1;
  const long = width + 2 * reach;
  const made = new Float64Array(values.length);
  const row = new Float64Array(long);
  for (let y = 0; y < height; y++) {
    row.fill(-Infinity);
    row.set(values.subarray(y * width, (y + 1) * width), reach);
    for (let n = 1; n < wanted; ) {
      const step = Math.min(n, wanted - n);
      for (let i = 0; i + step < long; i++) row[i] = Math.max(row[i], row[i + step]);
      n += step;
    }
    made.set(row.subarray(0, width), y * width);
  }
  return { values: made, width, height };
}

/** Grey values without what is dark and at most 2·`reach` pixels wide. @param {Plane} grey @param {number} reach */
function closed(grey, reach) {
  const negative = mapped(largestNear(grey, reach), (value) => -value);
  return mapped(largestNear(negative, reach), (value) => -value);
}

/**
 * Grey values, dark on light → ink, compared with the paper near it.
 *
 * @param {Plane} grey
 */
export function findInkNear(grey) {
  const smooth = smoothed(grey); // less grain
  const paper = closed(smooth, Math.max(4, Math.trunc(0.12 * Math.max(grey.width, grey.height)))).values;
  const darker = smooth.values.map((value, i) => 1 - value / Math.max(paper[i], 16));
  const isMuch = count(darker, 0.1) > 0.002 * darker.length;
  const most = Math.max(isMuch ? quantile(darker, 0.998) : range(darker)[1], 0.06);
  const ink = darker.map((value) => Math.min(Math.max((value / most - 0.35) / 0.5, 0), 1));
  return { values: ink, width: grey.width, height: grey.height };
}

// --- which ink is the digit ---

/** The runs of what is true in each row of a mask. @param {Uint8Array} mask @param {number} width @returns {Run[]} */
function runsOf(mask, width) {
  /** @type {Run[]} */
  const runs = [];
  for (let at = 0; at < mask.length; at += width) {
    for (let x = 0, end; x < width; x = end) {
      end = x + 1;
      if (!mask[at + x]) continue;
      while (end < width && mask[at + end]) end++;
      runs.push([at / width, x, end]);
    }
  }
  return runs;
}

/** Runs that touch, diagonally too, are of one part. @param {Run[]} runs @returns {Run[][]} */
function connected(runs) {
  const parent = runs.map((_, i) => i);
  const root = (/** @type {number} */ i) => {
    while (parent[i] !== i) i = parent[i] = parent[parent[i]];
    return i;
  };
  let above = 0;
  runs.forEach(([row, first, after], j) => {
    while (runs[above][0] < row - 1) above++;
    for (let i = above; runs[i][0] < row; i++) {
      if (runs[i][1] <= after && first <= runs[i][2]) parent[root(j)] = root(i);
    }
  });
  /** @type {Map<number, Run[]>} */
  const parts = new Map(runs.map((_, i) => [root(i), []]));
  runs.forEach((run, i) => parts.get(root(i))?.push(run));
  return [...parts].sort(([a], [b]) => a - b).map(([, part]) => part);
}

/** Pixels with ink, and their neighbours. @param {Plane} ink */
function nearInk({ values, width, height }) {
  const mask = new Uint8Array(values.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!(values[y * width + x] > 0.08)) continue;
      const [left, right] = [Math.max(x - 1, 0), Math.min(x + 1, width - 1)];
      for (let row = Math.max(y - 1, 0); row <= Math.min(y + 1, height - 1); row++) {
        for (let column = left; column <= right; column++) mask[row * width + column] = 1;
      }
    }
  }
  return mask;
}

/** @param {Plane} ink @returns {Part[]} */
function partsOf(ink) {
  return connected(runsOf(nearInk(ink), ink.width)).map((runs) => ({
    runs,
    top: runs[0][0],
    bottom: runs[runs.length - 1][0] + 1,
    left: Math.min(...runs.map(([, first]) => first)),
    right: Math.max(...runs.map(([, , after]) => after)),
    mass: runs.reduce((sum, [y, a, b]) => sum + total(ink.values.subarray(y * ink.width + a, y * ink.width + b)), 0),
  }));
}

/** @param {Part} part */
function size({ top, bottom, left, right }) {
  return Math.max(bottom - top, right - left);
}

/**
 * Ink without lines, specks and what touches the border: what is left is the digit, as far as one can tell.
 *
 * @param {Plane} ink
 * @returns {Plane}
 */
export function mainInk(ink) {
  const { width, height } = ink;
  const parts = partsOf(ink);
  if (!parts.length) return ink;
  const heaviest = Math.max(...parts.map((part) => part.mass));
  const isAtBorder = (/** @type {Part} */ { top, left, bottom, right }) => (
    top <= 1 || left <= 1 || bottom >= height - 1 || right >= width - 1
  );
  const weights = parts.map((part) => {
    const down = (part.top + part.bottom) / (2 * height) - 0.5;
    const across = (part.left + part.right) / (2 * width) - 0.5;
    const central = size(part) * Math.exp(-3 * (down ** 2 + across ** 2));
    return central * (isAtBorder(part) ? 0.2 : 1) * Number(part.mass >= 0.02 * heaviest);
  });
  const main = parts[weights.indexOf(Math.max(...weights))];
  const [down, across] = [0.35 * size(main), 0.18 * size(main)];
  const kept = new Float64Array(ink.values.length);
  for (const part of parts) {
    const isBeside = part.top < main.bottom + down && part.bottom > main.top - down
      && part.left < main.right + across && part.right > main.left - across;
    const isLarge = part.mass > 0.04 * main.mass && size(part) > 0.12 * size(main);
    if (part !== main && !(isBeside && isLarge && !isAtBorder(part))) continue;
    for (const [y, a, b] of part.runs) kept.set(ink.values.subarray(y * width + a, y * width + b), y * width + a);
  }
  return { values: kept, width, height };
}

/** How far it is in all from pixel to pixel, across and down, with nothing around them. @param {Plane} plane */
function steps({ values, width, height }) {
  let [across, down] = [0, 0];
  for (let y = 0; y <= height; y++) {
    for (let x = 0; x <= width; x++) {
      const here = x < width && y < height ? values[y * width + x] : 0;
      if (y < height) across += Math.abs(here - (x ? values[y * width + x - 1] : 0));
      if (x < width) down += Math.abs(here - (y ? values[(y - 1) * width + x] : 0));
    }
  }
  return [across, down];
}

/**
 * Ink whose strokes will not be thinner than about `STROKE` pixels when it is scaled to MNIST's size.
 *
 * @param {Plane} ink
 */
export function thickened(ink) {
  const box = cropped(ink);
  const width = (2 * total(ink.values)) / Math.max(Math.hypot(...steps(ink)), 1e-9);
  const wanted = (STROKE * Math.max(box.width, box.height)) / 20;
  const reach = rounded((wanted - width) / 2);
  if (reach < 1 || width > 0.75 * wanted) return ink;
  return largestNear(widened(ink, reach), reach);
}

/** With an empty margin. @param {Plane} plane @param {number} margin @returns {Plane} */
function widened({ values, width, height }, margin) {
  const wide = width + 2 * margin;
  const made = new Float64Array(wide * (height + 2 * margin));
  for (let y = 0; y < height; y++) {
    made.set(values.subarray(y * width, (y + 1) * width), (y + margin) * wide + margin);
  }
  return { values: made, width: wide, height: height + 2 * margin };
}

/** Whether ink fills the sides of its box, and is too wide for a 1. @param {Plane} ink */
function isSheet(ink) {
  const box = cropped(ink);
  const filled = sides(box).map((side) => total(side) / side.length).sort((a, b) => a - b);
  return filled[1] > 0.8 && 2 * box.width > box.height;
}

/** Whether ink is darker than a frame around it. @param {Plane} grey @param {Plane} ink */
function standsOut(grey, ink) {
  const box = boxOf(ink, 0.5);
  if (!box) return false;
  const far = Math.max(3, Math.trunc(0.2 * Math.max(box.bottom - box.top - 1, box.right - box.left - 1)));
  const frame = cut(grey, {
    top: Math.max(box.top - far, 0),
    bottom: Math.min(box.bottom + far, grey.height),
    left: Math.max(box.left - far, 0),
    right: Math.min(box.right + far, grey.width),
  });
  return median(sides(frame).flat()) - median(grey.values.filter((_, i) => ink.values[i] > 0.5)) > 15;
}

/**
 * What the digit of a picture may be, the most plausible first: 784 numbers each. Others than the first take longer to
 * find, and are looked for when they are asked for.
 *
 * @param {Plane} grey  0 to 255, at most `WORKING_SIDE` pixels a side
 * @returns {Generator<Float32Array<ArrayBuffer>, void, void>}
 */
export function* candidates(grey) {
  let n = 0;
  const whole = mainInk(findInk(grey));
  if (count(whole.values, 0) && !isSheet(whole)) {
    n++;
    yield centre(thickened(whole));
  }
  for (const page of [grey, mapped(grey, (value) => 255 - value)]) {
    const ink = mainInk(findInkNear(page));
    if (!standsOut(page, ink)) continue;
    n++;
    yield centre(thickened(ink));
  }
  if (!n) yield centre(findInk(grey));
}

/**
 * Grey values of a picture of a digit → 784 numbers from 0 to 1, white on black, scaled and centred as MNIST's are.
 *
 * @param {Plane} grey  0 to 255, at most `WORKING_SIDE` pixels a side; dark on light or light on dark
 * @param {(image: Float32Array<ArrayBuffer>) => number} [certainty]  how sure a reader is of an image: where the digit
 *   can be found in several ways, the one that it is surest of counts
 * @returns {Float32Array<ArrayBuffer>}
 * @throws {PictureError} if there is no digit
 */
export function readPicture(grey, certainty) {
  let [best, most] = [new Float32Array(0), -Infinity];
  for (const image of candidates(grey)) {
    if (!certainty) return image;
    const sure = certainty(image) + (best.length ? 0 : LEAD);
    if (sure > most) [best, most] = [image, sure];
    if (most >= 1) break; // no other can be surer
  }
  return best;
}

/**
 * Grey values of the pixels of a canvas, as Pillow weighs the colours.
 *
 * @param {ImageData} pixels  of a picture without transparent parts
 * @returns {Plane}
 */
export function greyOf({ data, width, height }) {
  const values = Float64Array.from({ length: width * height }, (_, i) => (
    (19595 * data[4 * i] + 38470 * data[4 * i + 1] + 7471 * data[4 * i + 2] + 0x8000) >> 16
  ));
  return { values, width, height };
}
