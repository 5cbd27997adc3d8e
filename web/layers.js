/** Layers of a network, in double precision. */

/**
 * @typedef {import("./weights.js").Numbers} Numbers
 * @typedef {{weight: Numbers, bias: Numbers}} Layer
 */

/** @param {Record<string, Numbers>} tensors @param {string} name @param {number} n @returns {Layer[]} */
export function layers(tensors, name, n) {
  return Array.from({ length: n }, (_, i) => ({
    weight: tensors[`${name}.${i}.weight`],
    bias: tensors[`${name}.${i}.bias`],
  }));
}

/**
 * A layer: bias + Σᵢ xᵢ · row i of the weight. Half of all xᵢ are 0 and take no time; four rows at a time halve the
 * rest.
 *
 * @param {Float64Array} x
 * @param {Numbers} weight  (inputs, outputs)
 * @param {Numbers} bias
 */
export function linear(x, weight, bias) {
  const sums = Float64Array.from(bias);
  const used = [];
  for (let i = 0; i < x.length; i++) if (x[i] !== 0) used.push(i);
  const whole = used.length - (used.length % 4);
  for (let r = 0; r < whole; r += 4) addFourRows(sums, weight, x, used[r], used[r + 1], used[r + 2], used[r + 3]);
  for (let r = whole; r < used.length; r++) addRow(sums, weight, x[used[r]], used[r] * bias.length);
  return sums;
}

/**
 * @param {Float64Array} sums @param {Numbers} weight @param {Float64Array} x
 * @param {number} i @param {number} j @param {number} k @param {number} l
 */
function addFourRows(sums, weight, x, i, j, k, l) {
  const n = sums.length;
  const [xi, xj, xk, xl] = [x[i], x[j], x[k], x[l]];
  let [a, b, c, d] = [i * n, j * n, k * n, l * n];
  for (let o = 0; o < n; o++) {
    sums[o] += xi * weight[a++] + xj * weight[b++] + xk * weight[c++] + xl * weight[d++];
  }
}

/** @param {Float64Array} sums @param {Numbers} weight @param {number} xi @param {number} from */
function addRow(sums, weight, xi, from) {
  for (let o = 0; o < sums.length; o++) sums[o] += xi * weight[from + o];
}

/** @param {Float64Array} x  changed in place */
export function relu(x) {
  for (let i = 0; i < x.length; i++) if (!(x[i] > 0)) x[i] = 0;
  return x;
}

/** Side of a convolution's filters. */
const FILTER = 5;

/**
 * A convolution of 5×5 filters without a margin: a layer on each 5×5 pixels.
 *
 * @param {Float64Array} x  (side, side, channels)
 * @param {number} side
 * @param {Numbers} weight  (5·5·channels, filters)
 * @param {Numbers} bias
 * @returns {Float64Array} (side − 4, side − 4, filters)
 */
export function convolution(x, side, weight, bias) {
  const channels = x.length / side ** 2;
  const wide = side - FILTER + 1;
  const patch = new Float64Array(FILTER * FILTER * channels);
  const made = new Float64Array(wide * wide * bias.length);
  for (let i = 0; i < wide * wide; i++) {
    const corner = Math.floor(i / wide) * side + (i % wide);
    for (let dy = 0; dy < FILTER; dy++) {
      const from = (corner + dy * side) * channels;
      patch.set(x.subarray(from, from + FILTER * channels), dy * FILTER * channels);
    }
    made.set(linear(patch, weight, bias), i * bias.length);
  }
  return made;
}

/**
 * Each channel multiplied and moved, as batch normalisation does it.
 *
 * @param {Float64Array} x  (…, channels), changed in place
 * @param {Numbers} scale @param {Numbers} shift  (channels,)
 */
export function normalised(x, scale, shift) {
  const channels = scale.length;
  for (let i = 0; i < x.length; i++) x[i] = x[i] * scale[i % channels] + shift[i % channels];
  return x;
}

/**
 * The largest of each two by two pixels.
 *
 * @param {Float64Array} x  (side, side, channels)
 * @param {number} side
 */
export function largestOfFour(x, side) {
  const channels = x.length / side ** 2;
  const half = side / 2;
  return Float64Array.from({ length: half * half * channels }, (_, i) => {
    const [channel, place] = [i % channels, Math.floor(i / channels)];
    const at = (2 * Math.floor(place / half) * side + 2 * (place % half)) * channels + channel;
    const below = at + side * channels;
    return Math.max(x[at], x[at + channels], x[below], x[below + channels]);
  });
}
