/** Reads digits: the small convolutional network of Python's `mnist_vae.reader`. */

import { convolution, largestOfFour, linear, normalised, relu } from "./layers.js";

/** @typedef {import("./weights.js").Numbers} Numbers */

const SIDE = 28;

export class Reader {
  /** @param {Record<string, Numbers>} tensors */
  constructor(tensors) {
    this.tensors = tensors;
  }

  /** Whether a file of weights has a reader. @param {Record<string, Numbers>} tensors */
  static isIn(tensors) {
    return "reader.out.weight" in tensors;
  }

  /** @param {string} name @returns {Numbers} */
  get(name) {
    return this.tensors[`reader.${name}`];
  }

  /** Logits of the ten digits. @param {Float64Array} pixels  784 */
  logits(pixels) {
    const coarse = this.halved(pixels, SIDE, 0); // (12, 12, filters)
    const coarser = this.halved(coarse, 12, 1); // (4, 4, filters)
    const [scale, shift] = [this.get("2.scale"), this.get("2.shift")];
    const hidden = normalised(linear(coarser, this.get("2.weight"), zeros(scale)), scale, shift);
    return linear(relu(hidden), this.get("out.weight"), this.get("out.bias"));
  }

  /**
   * Layer number `i`, which halves the side that its filters leave.
   * @param {Float64Array} x
   * @param {number} side
   * @param {number} i
   */
  halved(x, side, i) {
    const [scale, shift] = [this.get(`${i}.scale`), this.get(`${i}.shift`)];
    const filtered = convolution(x, side, this.get(`${i}.weight`), zeros(scale));
    return largestOfFour(relu(normalised(filtered, scale, shift)), side - 4);
  }
}

/** As many as in `numbers`. @param {Numbers} numbers */
function zeros(numbers) {
  return new Float64Array(numbers.length);
}
