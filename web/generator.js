/**
 * Draws handwritten digits: the class `DigitGenerator` of Python's `mnist_vae.generator`, without a server.
 *
 * The same seed gives the same images as Python. All sums are in double precision, so that the order in which they
 * are added up does not show in a grey level.
 */

import { layers, linear, relu } from "./layers.js";
import { Stream, toNormal } from "./random.js";
import { Reader } from "./reader.js";
import { WeightsError, bytesOf, readWeights } from "./weights.js";

export { WeightsError };

/** Side of an image. */
export const SIDE = 28;
/** Pixels of an image. */
export const PIXELS = SIDE * SIDE;
const CLASSES = 10;
export const MAX_SEED = 2 ** 32 - 1;
/** Images of one `generate`. */
export const MAX_IMAGES = 100_000;
/** Digits of one `write`. */
export const MAX_TEXT = 20;
/** Frames of one `morph`. */
export const MAX_FRAMES = 1000;
/** Where a `sample` may start in its stream. */
export const MAX_START = 2 ** 40;
/** Of `sample`; beyond, digits fall apart. */
export const MAX_TEMPERATURE = 1.5;
/** Standard deviations that a slider moves to either side. */
export const REACH = 2;

/** Draws for an image: the first that is dense enough counts. */
const TRIES = 4;
/** The grey level at the white point of a tone. */
const FULL = 252.5 / 255;
/** How much a digit varies within one handwriting, as a share of its class's spread. */
const JITTER = 0.15;
/** How much of a handwriting is carried to another digit. */
const STRENGTH = 0.6;
/** Standard deviations from the middle of an island to its shore. */
const SHORE = 2.5;
/** Steps of a morph for each of its frames. */
const FINENESS = 8;

/**
 * @typedef {import("./weights.js").Numbers} Numbers
 * @typedef {import("./weights.js").Weights} Weights
 * @typedef {import("./weights.js").Header["tone"]} Tone
 * @typedef {string | URL | ArrayBuffer | Uint8Array} Source  an address, or the bytes themselves
 * @typedef {[x: number, y: number]} Point
 */

/**
 * Grey levels of images as a file has them: `round(255·x)`, half to even.
 *
 * @param {ArrayLike<number>} images  numbers from 0 to 1
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function toBytes(images) {
  const bytes = new Uint8Array(images.length);
  for (let i = 0; i < bytes.length; i++) {
    const level = Math.fround(Math.fround(images[i]) * 255);
    if (!(level >= 0 && level <= 255)) throw new RangeError(`images must hold numbers from 0 to 1, got ${images[i]}`);
    const up = Math.round(level);
    bytes[i] = up - level === 0.5 && up % 2 === 1 ? up - 1 : up;
  }
  return bytes;
}

/**
 * Whether `text` is a text of 1 to `MAX_TEXT` digits, as `write` takes it.
 * @param {unknown} text
 * @returns {text is string}
 */
export function isNumber(text) {
  return typeof text === "string" && /^[0-9]+$/.test(text) && text.length <= MAX_TEXT;
}

/** Draws the digits that are asked for. No method changes it. */
export class DigitGenerator {
  /** @param {Weights} weights  of drawing */
  constructor({ header, tensors }) {
    this.header = header;
    this.tensors = tensors;
    /** @type {Weights | null} */
    this.encoder = null;
    /** @type {Reader | null} */
    this.reader = null;
    this.logits = makeDecoder(tensors);
    this.prior = new ClassPrior(tensors);
    this.hand = new Handwriting(tensors);
  }

  /**
   * The generator of a file of weights that `mnist-vae web` wrote.
   *
   * @param {Source} source
   * @returns {Promise<DigitGenerator>} rejected by a `WeightsError` if there is no such file, or it cannot be used
   */
  static async load(source) {
    return new DigitGenerator(readWeights(await bytesOf(source), "drawing"));
  }

  /**
   * Load what `read`, `probabilities` and `restyle` need besides: the encoder's part of the same weights.
   *
   * @param {Source} source
   * @returns {Promise<void>} rejected by a `WeightsError` if there is no such file, or it cannot be used
   */
  async loadEncoder(source) {
    const encoder = readWeights(await bytesOf(source), "encoder");
    if (encoder.header.checkpoint !== this.header.checkpoint) {
      throw new WeightsError('decoder and encoder are of different weights: make both anew with "mnist-vae web"');
    }
    this.encoder = encoder;
    this.reader = Reader.isIn(encoder.tensors) ? new Reader(encoder.tensors) : null;
  }

  /** Grey levels of 784 pixels. @param {Float64Array} z @param {Float64Array} label  a row of ten numbers */
  decode(z, label) {
    const pixels = this.logits(z, label);
    for (let i = 0; i < pixels.length; i++) pixels[i] = levels(1 / (1 + Math.exp(-pixels[i])), this.header.tone);
    return pixels;
  }

  /**
   * Variations of a digit, one after the other: numbers in [0, 1], ink is 1.
   *
   * @param {number} digit
   * @param {object} [options]
   * @param {number} [options.n]  how many, up to `MAX_IMAGES`
   * @param {number} [options.seed]  the same seed, the same images; without one, new ones
   * @param {number} [options.temperature]  from 0, the average digit, to 1.5; 1 is what was learned
   * @returns {Float32Array<ArrayBuffer>} n·784
   */
  generate(digit, { n = 5, seed, temperature = 1 } = {}) {
    wholeNumber(digit, "digit", 0, CLASSES - 1);
    wholeNumber(n, "n", 1, MAX_IMAGES);
    return this.sample(new Uint8Array(n).fill(digit), { seed, temperature });
  }

  /**
   * One image for each label. Image i depends on the seed, on i, on labels[i] and on the temperature alone.
   *
   * @param {ArrayLike<number>} labels
   * @param {object} [options]
   * @param {number} [options.seed]
   * @param {number} [options.start]  which image of the seed's stream is the first; it needs a seed
   * @param {number} [options.temperature]
   * @returns {Float32Array<ArrayBuffer>} N·784
   */
  sample(labels, { seed, start = 0, temperature = 1 } = {}) {
    wholeNumber(start, "start", 0, MAX_START);
    if (start && seed === undefined) {
      throw new RangeError(`start = ${start} needs a seed: without one there is no stream to start in`);
    }
    checkLabels(labels);
    checkTemperature(temperature);
    const stream = streamOf(seed);
    stream.skip(start * TRIES * (1 + this.prior.dim));
    return this.draw(labels, stream, temperature);
  }

  /**
   * The images that come next in a stream. A long set is drawn bit by bit with it.
   *
   * @param {ArrayLike<number>} labels
   * @param {Stream} stream
   * @param {number} [temperature]
   * @returns {Float32Array<ArrayBuffer>} N·784
   */
  draw(labels, stream, temperature = 1) {
    const images = new Float32Array(labels.length * PIXELS);
    for (let i = 0; i < labels.length; i++) {
      const z = this.prior.sample(labels[i], stream);
      const latent = temperature === 1 ? z : this.hand.meanOf(labels[i]).map((m, d) => mix(m, z[d], temperature));
      images.set(this.decode(latent, oneHot(labels[i])), i * PIXELS);
    }
    return images;
  }

  /**
   * A number in one handwriting, a new one for each seed, or that of an image.
   *
   * @param {string} text  1 to 20 digits
   * @param {object} [options]
   * @param {number} [options.seed]
   * @param {ArrayLike<number>} [options.hand]  an image as for `restyle`, whose handwriting it is
   * @param {number} [options.digit]  what `hand` shows; without it, the model reads which
   * @returns {Float32Array<ArrayBuffer>} one image, 28 rows of 28·length
   */
  write(text, { seed, hand, digit } = {}) {
    if (!isNumber(text)) {
      throw new RangeError(`text must be 1 to ${MAX_TEXT} digits from 0 to 9, not ${shown(text)}`);
    }
    const digits = Array.from(text, Number);
    const stream = streamOf(seed);
    const styled = hand === undefined ? this.newHand(digits[0], stream) : this.handOf(hand, digit);
    const images = digits.map((digit) => this.decode(this.hand.vary(styled[digit], digit, stream), oneHot(digit)));
    return sideBySide(images);
  }

  /**
   * How likely an image shows each digit, of sum 1. It needs `loadEncoder` first.
   *
   * The reader says it, which for a scribble or a blot finds no digit likely; for weights without one, Bayes' rule.
   *
   * @param {ArrayLike<number>} image  784 bytes or numbers from 0 to 1, ink bright on dark, centred as MNIST's are
   * @returns {Float32Array<ArrayBuffer>} 10
   */
  probabilities(image) {
    const pixels = checkImage(image);
    this.needEncoder();
    return softmax(this.reader ? this.reader.logits(pixels) : this.logJoint(pixels));
  }

  /**
   * The digit that an image most likely shows, as `probabilities` says.
   *
   * @param {ArrayLike<number>} image
   * @returns {number}
   */
  read(image) {
    const likely = this.probabilities(image);
    return likely.indexOf(Math.max(...likely));
  }

  /** log p(x|z, y) + log p(z|y) at the latent z of an image, for each digit y. @param {Float64Array} pixels  784 */
  logJoint(pixels) {
    const z = this.encode(pixels);
    return Float64Array.from(digits(), (digit) => {
      let sum = this.prior.logDensity(z, digit);
      this.logits(z, oneHot(digit)).forEach((logit, i) => {
        sum += pixels[i] * logit - softplus(logit);
      });
      return sum;
    });
  }

  /**
   * All ten digits in the handwriting of an image. It needs `loadEncoder` first.
   *
   * @param {ArrayLike<number>} image  784 bytes or numbers from 0 to 1, ink bright on dark, centred as MNIST's are
   * @param {number} [digit]  what it shows; without it, the model reads which
   * @returns {Float32Array<ArrayBuffer>} 10·784
   */
  restyle(image, digit) {
    return this.drawAll(this.handOf(image, digit));
  }

  /**
   * The latents of all ten digits in a handwriting that begins with `digit`.
   * @param {number} digit
   * @param {Stream} stream
   */
  newHand(digit, stream) {
    const z = this.prior.sample(digit, stream);
    return this.hand.carry(z, digit, this.decode(z, oneHot(digit)));
  }

  /**
   * The latents of all ten digits in the handwriting of an image.
   * @param {ArrayLike<number>} image
   * @param {number} [digit]
   */
  handOf(image, digit = this.read(image)) {
    wholeNumber(digit, "digit", 0, CLASSES - 1);
    const pixels = checkHandwriting(image);
    return this.hand.carry(this.encode(pixels), digit, pixels);
  }

  /** @returns {Weights} */
  needEncoder() {
    if (!this.encoder) throw new Error("load the encoder first: await generator.loadEncoder(…)");
    return this.encoder;
  }

  /** The latent of an image. @param {Float64Array} pixels  784 @returns {Float64Array} */
  encode(pixels) {
    const { tensors } = this.needEncoder();
    return layers(tensors, "encoder", 3).reduce(
      (x, layer, i) => linear(i ? relu(x) : x, layer.weight, layer.bias), pixels,
    );
  }

  /** What the sliders of `inStyle` do. */
  get styles() {
    return this.header.styles;
  }

  /**
   * All ten digits in one style.
   *
   * @param {ArrayLike<number>} values  positions of the sliders named by `styles`, from −2 to 2; those left out are 0
   * @returns {Float32Array<ArrayBuffer>} 10·784
   */
  inStyle(values) {
    const n = this.styles.length;
    const numbers = isList(values) ? Array.from(values) : [NaN];
    if (numbers.length > n || numbers.some((value) => typeof value !== "number" || Number.isNaN(value))) {
      throw new RangeError(`values must be one row of up to ${n} numbers, for ${this.styles.join(", ")}`);
    }
    if (numbers.some((value) => Math.abs(value) > REACH)) {
      throw new RangeError(`values must be from ${-REACH} to ${REACH}, got ${numbers.join(", ")}`);
    }
    return this.drawAll(digits().map((digit) => this.latentInStyle(digit, numbers)));
  }

  /** @param {number} digit @param {number[]} values  of the first sliders */
  latentInStyle(digit, values) {
    const n = this.styles.length;
    const z = this.hand.meanOf(digit);
    const directions = this.tensors["style.directions"]; // (10, D, K)
    for (let d = 0; d < z.length; d++) {
      values.forEach((value, k) => {
        z[d] += value * directions[(digit * z.length + d) * n + k];
      });
    }
    return z;
  }

  /**
   * Frames in which a digit turns into another, about equally far apart.
   *
   * The first is `generate(start, {n: 1, seed})`, the last is `end` in the same handwriting, or another variation where
   * both are one digit.
   *
   * @param {number} start
   * @param {number} end
   * @param {object} [options]
   * @param {number} [options.n]  frames, from 2 to 1000
   * @param {number} [options.seed]
   * @returns {Float32Array<ArrayBuffer>} n·784
   */
  morph(start, end, { n = 24, seed } = {}) {
    wholeNumber(start, "start", 0, CLASSES - 1);
    wholeNumber(end, "end", 0, CLASSES - 1);
    wholeNumber(n, "n", 2, MAX_FRAMES);
    const stream = streamOf(seed);
    const z = this.prior.sample(start, stream);
    const other = this.prior.sample(start, stream);
    const zEnd = start === end ? other : this.hand.carry(z, start, this.decode(z, oneHot(start)))[end];
    const [y, yEnd] = [oneHot(start), oneHot(end)];
    const steps = Array.from({ length: FINENESS * n }, (_, i) => {
      const t = linspace(i, FINENESS * n);
      return this.decode(between(z, zEnd, t), between(y, yEnd, t));
    });
    return joined(equallyApart(steps, n));
  }

  /**
   * Where the latents of digits lie on the flat map. The digits 0 to 9 take turns.
   *
   * @param {number} [n]
   * @param {object} [options]
   * @param {number} [options.seed]
   * @returns {{points: Point[], labels: number[]}}
   */
  map(n = 2000, { seed } = {}) {
    wholeNumber(n, "n", 1, MAX_IMAGES);
    const stream = streamOf(seed);
    const labels = Array.from({ length: n }, (_, i) => i % CLASSES);
    return { points: labels.map((digit) => this.place(this.prior.sample(digit, stream), digit)), labels };
  }

  /** Where a latent lies on the map; beyond a shore it is put on it. @param {Float64Array} z @param {number} digit */
  place(z, digit) {
    const dim = z.length;
    const toMap = this.tensors["map.place"]; // (10, 2, D)
    const mean = this.hand.meanOf(digit);
    const off = [0, 1].map((axis) => {
      let sum = 0;
      for (let d = 0; d < dim; d++) sum += toMap[(digit * 2 + axis) * dim + d] * (z[d] - mean[d]);
      return sum / SHORE;
    });
    return /** @type {Point} */ (onIsland(off).map((v, axis) => this.islands[digit][axis] + v));
  }

  /** The middle of each digit's island on the map. @returns {Point[]} */
  get islands() {
    const centres = this.tensors["map.centres"];
    return digits().map((digit) => [centres[2 * digit], centres[2 * digit + 1]]);
  }

  /**
   * The digit whose island is nearest to a point of the map, and its image there.
   *
   * @param {number} x
   * @param {number} y
   * @returns {{digit: number, image: Float32Array<ArrayBuffer>}}
   */
  at(x, y) {
    if (!Number.isFinite(x) || !Number.isFinite(y)) {
      throw new RangeError(`x and y must be finite numbers, not ${shown(x)}, ${shown(y)}`);
    }
    const offs = this.islands.map((island) => [x - island[0], y - island[1]]);
    const distances = offs.map((off) => Math.hypot(...off));
    const digit = distances.indexOf(Math.min(...distances));
    const z = this.latentInStyle(digit, onIsland(offs[digit]).map((v) => SHORE * v));
    return { digit, image: Float32Array.from(this.decode(z, oneHot(digit))) };
  }

  /** An image for each digit's latent. @param {Float64Array[]} latents */
  drawAll(latents) {
    return joined(latents.map((z, digit) => this.decode(z, oneHot(digit))));
  }
}

/** p(z|y): a mixture of Gaussians for each digit. */
class ClassPrior {
  /** @param {Record<string, Numbers>} tensors */
  constructor(tensors) {
    this.means = tensors["prior.means"]; // (10, K, D)
    this.factors = tensors["prior.factors"]; // (10, K, D(D + 1)/2): the lower triangle of L, row by row
    this.threshold = tensors["prior.threshold"]; // (10,)
    this.size = tensors["prior.weights"].length / CLASSES;
    this.dim = this.means.length / tensors["prior.weights"].length;
    this.triangle = (this.dim * (this.dim + 1)) / 2;
    this.steps = stepsOf(tensors["prior.weights"], this.size);
    this.logPeak = this.logPeaks(tensors["prior.weights"]);
  }

  /** The logarithm of each weighted Gaussian at its mean. @param {Numbers} weights */
  logPeaks(weights) {
    return Float64Array.from(weights, (weight, k) => {
      let logDet = 0;
      for (let d = 0; d < this.dim; d++) logDet += Math.log(this.factors[k * this.triangle + (d * (d + 3)) / 2]);
      return Math.log(weight) - logDet - 0.5 * this.dim * Math.log(2 * Math.PI);
    });
  }

  /**
   * The first of `TRIES` draws whose density reaches the threshold, or the densest of them if none does. Whatever
   * happens, it takes as many numbers from the stream.
   *
   * @param {number} digit
   * @param {Stream} stream
   */
  sample(digit, stream) {
    const uniform = Float64Array.from({ length: TRIES * (1 + this.dim) }, () => stream.uniform());
    const threshold = this.threshold[digit];
    /** @type {Float64Array} */
    let z = new Float64Array(this.dim);
    let best = -Infinity;
    for (let i = 0; i < TRIES; i++) {
      const numbers = uniform.subarray(i * (1 + this.dim), (i + 1) * (1 + this.dim));
      const [draw, logDensity] = this.try(digit, numbers, threshold);
      if (i === 0) z = draw;
      if (logDensity > best) [z, best] = [draw, logDensity];
      if (best >= threshold) break;
    }
    return z;
  }

  /**
   * A latent from 1 + D uniform numbers, and its log density; where a lower bound of that reaches the threshold, the
   * bound.
   *
   * @param {number} digit
   * @param {Float64Array} uniform
   * @param {number} threshold
   * @returns {[z: Float64Array, logDensity: number]}
   */
  try(digit, uniform, threshold) {
    const k = this.choose(digit, uniform[0]);
    const noise = uniform.subarray(1).map(toNormal);
    const z = new Float64Array(this.dim);
    let at = k * this.triangle;
    let square = 0;
    for (let d = 0; d < this.dim; d++) {
      z[d] = this.means[k * this.dim + d];
      for (let e = 0; e <= d; e++) z[d] += this.factors[at++] * noise[e];
      square += noise[d] ** 2;
    }
    // Its own Gaussian alone often shows that p(z|y), the sum over all of them, is large enough.
    const bound = this.logPeak[k] - 0.5 * square;
    return [z, bound >= threshold ? bound : this.logDensity(z, digit)];
  }

  /**
   * The Gaussian that a number in [0, 1) chooses: the first whose step lies beyond it.
   * @param {number} digit
   * @param {number} u
   */
  choose(digit, u) {
    const value = digit + u;
    let low = digit * this.size;
    let high = low + this.size - 1; // digit + u may have been rounded up to the next digit
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.steps[middle] > value) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** log p(z|y) in nats. @param {Float64Array} z @param {number} digit */
  logDensity(z, digit) {
    const logs = new Float64Array(this.size);
    for (let i = 0; i < this.size; i++) {
      const k = digit * this.size + i;
      logs[i] = this.logPeak[k] - 0.5 * this.mahalanobis(z, k);
    }
    const top = logs.reduce((a, b) => Math.max(a, b));
    return top + Math.log(logs.reduce((sum, log) => sum + Math.exp(log - top), 0));
  }

  /**
   * The squared length of y with L·y = z − mean, by forward substitution.
   * @param {Float64Array} z
   * @param {number} k
   */
  mahalanobis(z, k) {
    const y = new Float64Array(this.dim);
    let at = k * this.triangle;
    let square = 0;
    for (let d = 0; d < this.dim; d++) {
      let rest = z[d] - this.means[k * this.dim + d];
      for (let e = 0; e < d; e++) rest -= this.factors[at++] * y[e];
      y[d] = rest / this.factors[at++];
      square += y[d] ** 2;
    }
    return square;
  }
}

/**
 * Where each digit's stretch of length 1 goes from one of its Gaussians to the next.
 * @param {Numbers} weights
 * @param {number} size
 */
function stepsOf(weights, size) {
  const steps = new Float64Array(weights.length);
  for (let start = 0; start < weights.length; start += size) {
    let sum = 0;
    for (let k = start; k < start + size; k++) steps[k] = sum += weights[k];
    for (let k = start; k < start + size; k++) steps[k] = steps[k] / sum + start / size;
  }
  return steps;
}

/** Carries a handwriting from one digit to all ten. */
class Handwriting {
  /** @param {Record<string, Numbers>} tensors */
  constructor(tensors) {
    this.mean = tensors["hand.mean"]; // (10, D)
    this.dim = this.mean.length / CLASSES;
    this.triangle = (this.dim * (this.dim + 1)) / 2;
    this.root = tensors["hand.root"]; // (10, D(D + 1)/2): symmetric, as are the maps
    this.transport = tensors["hand.transport"]; // (10, 10, D(D + 1)/2), without the maps of a digit to itself
    this.slope = tensors["hand.slope"]; // (10, 2, D)
    this.correction = tensors["hand.correction"]; // (10, D, 2)
    this.traitsMean = tensors["hand.traits_mean"]; // (10, 2)
    this.traitsStd = tensors["hand.traits_std"]; // (10, 2)
  }

  /** A copy of the mean of a digit's mixture. @param {number} digit @returns {Float64Array} */
  meanOf(digit) {
    return Float64Array.from(this.mean.subarray(digit * this.dim, (digit + 1) * this.dim));
  }

  /**
   * The latents of all digits in the handwriting of an image with the latent `z`.
   *
   * @param {Float64Array} z
   * @param {number} digit  what the image shows
   * @param {Float64Array} image
   * @returns {Float64Array[]}
   */
  carry(z, digit, image) {
    const traits = slantAndInk(image).map((trait, t) => {
      const deviations = (trait - this.traitsMean[2 * digit + t]) / this.traitsStd[2 * digit + t];
      return Math.min(Math.max(deviations, -4), 4); // beyond four standard deviations the decoder draws blots
    });
    const off = this.meanOf(digit).map((m, d) => z[d] - m);
    return digits().map((target) => this.carryTo(target, this.transported(off, digit, target), traits));
  }

  /** @param {Float64Array} off  from the mean of `digit` @param {number} digit @param {number} target */
  transported(off, digit, target) {
    const place = 9 * digit + target - Number(target > digit); // the map of a digit to itself is left out
    const step = digit === target ? off.slice() : this.times(this.transport, place, off);
    return step.map((v) => STRENGTH * v);
  }

  /**
   * The latent of `target` whose slant and ink are right, `step` away from the mean but for that.
   *
   * @param {number} target @param {Float64Array} step @param {number[]} traits
   */
  carryTo(target, step, traits) {
    const missing = traits.map((trait, t) => {
      let sum = 0;
      for (let d = 0; d < this.dim; d++) sum += this.slope[(2 * target + t) * this.dim + d] * step[d];
      return trait - sum;
    });
    return this.meanOf(target).map((m, d) => {
      const at = 2 * (target * this.dim + d);
      return m + step[d] + this.correction[at] * missing[0] + this.correction[at + 1] * missing[1];
    });
  }

  /**
   * A latent near `z`, as the same digit never looks quite the same twice.
   * @param {Float64Array} z
   * @param {number} digit
   * @param {Stream} stream
   */
  vary(z, digit, stream) {
    const noise = Float64Array.from(z, () => toNormal(stream.uniform()));
    const moved = this.times(this.root, digit, noise);
    return z.map((v, d) => v + JITTER * moved[d]);
  }

  /**
   * The product of the symmetric matrix `which` of those in `matrices` and a vector.
   * @param {Numbers} matrices
   * @param {number} which
   * @param {Float64Array} vector
   */
  times(matrices, which, vector) {
    const product = new Float64Array(this.dim);
    let at = which * this.triangle;
    for (let i = 0; i < this.dim; i++) {
      for (let j = 0; j < i; j++) {
        const value = matrices[at++];
        product[i] += value * vector[j];
        product[j] += value * vector[i];
      }
      product[i] += matrices[at++] * vector[i];
    }
    return product;
  }
}

/**
 * Slant of an image, in pixels to the right for each pixel up, and the sum of its ink.
 *
 * @param {ArrayLike<number>} image
 * @returns {[slant: number, ink: number]}
 */
function slantAndInk(image) {
  let [ink, sumX, sumY] = [0, 0, 0];
  for (let i = 0; i < PIXELS; i++) {
    ink += image[i];
    sumX += image[i] * (i % SIDE);
    sumY += image[i] * Math.floor(i / SIDE);
  }
  let [xy, yy] = [0, 0];
  for (let i = 0; i < PIXELS; i++) {
    const dy = Math.floor(i / SIDE) - sumY / ink;
    xy += image[i] * ((i % SIDE) - sumX / ink) * dy;
    yy += image[i] * dy * dy;
  }
  return [-xy / yy, ink];
}

/**
 * The decoder: from a latent and a label, a row of ten numbers, to the logits of 784 pixels.
 *
 * @param {Record<string, Numbers>} tensors
 * @returns {(z: Float64Array, label: Float64Array) => Float64Array}
 */
function makeDecoder(tensors) {
  const [first, ...others] = layers(tensors, "decoder", 3);
  return (z, label) => {
    const input = new Float64Array(z.length + CLASSES);
    input.set(z);
    input.set(label, z.length);
    let x = linear(input, first.weight, first.bias);
    for (const { weight, bias } of others) x = linear(relu(x), weight, bias);
    return x;
  };
}

/** log(1 + eˣ) @param {number} x */
function softplus(x) {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}

/** @param {Float64Array} logs */
function softmax(logs) {
  const top = Math.max(...logs);
  const parts = logs.map((log) => Math.exp(log - top));
  const whole = parts.reduce((sum, part) => sum + part, 0);
  return Float32Array.from(parts, (part) => part / whole);
}

/**
 * Grey levels of a sigmoid: what is at most `black` is paper, at `white` ink is full. Without a tone, the sigmoid
 * itself.
 *
 * @param {number} s
 * @param {Tone} tone
 */
export function levels(s, tone) {
  if (!tone) return s;
  const { black, white } = tone;
  const rising = (s - black) * (FULL / (white - black));
  const full = (1 - s) * (-(1 - FULL) / (1 - white)) + 1;
  return Math.max(Math.min(rising, full), 0);
}

/**
 * `n` of `steps`, the first and the last among them, between which lie about equal lengths of the way.
 * @param {Float64Array[]} steps
 * @param {number} n
 */
function equallyApart(steps, n) {
  const way = new Float64Array(steps.length);
  for (let i = 1; i < steps.length; i++) {
    let square = 0;
    for (let p = 0; p < PIXELS; p++) square += (steps[i][p] - steps[i - 1][p]) ** 2;
    way[i] = way[i - 1] + Math.sqrt(square);
  }
  const whole = way[way.length - 1];
  let at = 0;
  return Array.from({ length: n }, (_, frame) => {
    const mark = linspace(frame, n) * whole;
    while (at < steps.length - 1 && way[at] < mark) at++;
    return steps[at];
  });
}

/**
 * Number `i` of `n` from 0 to 1, as PyTorch rounds it: each half is counted from its own end.
 * @param {number} i
 * @param {number} n
 */
function linspace(i, n) {
  const step = 1 / (n - 1);
  return i < n / 2 ? step * i : 1 - step * (n - 1 - i);
}

/** @param {Float64Array} from @param {Float64Array} to @param {number} t */
function between(from, to, t) {
  return from.map((v, i) => v + t * (to[i] - v));
}

/**
 * The number a share `t` of the way from `a` to `b`, rounded as PyTorch rounds it.
 * @param {number} a
 * @param {number} b
 * @param {number} t
 */
function mix(a, b, t) {
  return t < 0.5 ? a + t * (b - a) : b - (b - a) * (1 - t);
}

/** A point off the middle of an island; beyond the shore it is put on it. @param {number[]} off */
function onIsland(off) {
  const distance = Math.max(Math.hypot(...off), 1);
  return off.map((v) => v / distance);
}

/** @param {number} digit */
function oneHot(digit) {
  const row = new Float64Array(CLASSES);
  row[digit] = 1;
  return row;
}

function digits() {
  return Array.from({ length: CLASSES }, (_, digit) => digit);
}

/** Images one after the other. @param {Float64Array[]} images */
function joined(images) {
  const all = new Float32Array(images.length * PIXELS);
  images.forEach((image, i) => all.set(image, i * PIXELS));
  return all;
}

/** Images beside one another, as one. @param {Float64Array[]} images */
function sideBySide(images) {
  const line = new Float32Array(images.length * PIXELS);
  images.forEach((image, i) => {
    for (let y = 0; y < SIDE; y++) {
      line.set(image.subarray(y * SIDE, (y + 1) * SIDE), (y * images.length + i) * SIDE);
    }
  });
  return line;
}

/** A fresh stream, of a seed or of a random one. @param {number | undefined} seed */
function streamOf(seed) {
  if (seed === undefined) return new Stream(crypto.getRandomValues(new Uint32Array(1))[0]);
  return new Stream(wholeNumber(seed, "seed", 0, MAX_SEED));
}

/** @param {number} value @param {string} name @param {number} low @param {number} high */
function wholeNumber(value, name, low, high) {
  if (Number.isInteger(value) && value >= low && value <= high) return value;
  throw new RangeError(`${name} must be a whole number from ${low} to ${high}, not ${shown(value)}`);
}

/** @param {unknown} value */
function shown(value) {
  return typeof value === "string" ? `'${value.slice(0, 40)}'` : String(value).slice(0, 40);
}

/** @param {unknown} value @returns {value is ArrayLike<unknown>} */
function isList(value) {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
}

/** @param {ArrayLike<number>} labels */
function checkLabels(labels) {
  if (!isList(labels)) throw new RangeError("labels must be one row of whole numbers from 0 to 9");
  for (let i = 0; i < labels.length; i++) {
    if (Number.isInteger(labels[i]) && labels[i] >= 0 && labels[i] < CLASSES) continue;
    throw new RangeError(`labels must be whole numbers from 0 to 9, labels[${i}] is ${shown(labels[i])}`);
  }
}

/** @param {number} temperature */
function checkTemperature(temperature) {
  if (typeof temperature === "number" && temperature >= 0 && temperature <= MAX_TEMPERATURE) return;
  throw new RangeError(`temperature must be a number from 0 to ${MAX_TEMPERATURE}, not ${shown(temperature)}`);
}

/** An image in double precision, not a blank one. @param {ArrayLike<number>} image */
function checkImage(image) {
  if (!isList(image) || image.length !== PIXELS) throw new RangeError("image must be 28×28 numbers");
  const top = image instanceof Uint8Array || image instanceof Uint8ClampedArray ? 255 : 1;
  const pixels = Float64Array.from(image, (level) => level / top);
  if (!pixels.every((v) => v >= 0 && v <= 1)) throw new RangeError("image must hold numbers from 0 to 1");
  if (!pixels.some((v) => v > 0)) throw new RangeError("image is blank: its ink must be brighter than 0");
  return pixels;
}

/** An image that shows a handwriting, in double precision. @param {ArrayLike<number>} image */
function checkHandwriting(image) {
  const pixels = checkImage(image);
  const rows = Array.from({ length: SIDE }, (_, y) => pixels.subarray(y * SIDE, (y + 1) * SIDE));
  if (rows.filter((row) => row.some((v) => v > 0)).length < 2) {
    throw new RangeError("image must have ink in more than one row to show a handwriting");
  }
  return pixels;
}
