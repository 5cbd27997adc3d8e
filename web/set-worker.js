/** Draws a labelled set in a worker, so that the page stays at hand; says how far it is, then hands over the file. */

import { idx, zipDeflated } from "./files.js";
import { DigitGenerator, PIXELS, toBytes } from "./generator.js";
import { Stream } from "./random.js";

/** Images from one report to the next. */
const BATCH = 200;
/** What separates the seeds of training and test images, as in Python's `mnist_vae.dataset`. */
const TEST = 2 ** 31;

/**
 * The bytes of `n` images, whose digits take turns, and their labels.
 *
 * @param {DigitGenerator} gen
 * @param {number} n
 * @param {number} seed
 * @param {(n: number) => void} report  called with how many more there are
 */
function drawn(gen, n, seed, report) {
  const [images, labels] = [new Uint8Array(n * PIXELS), Uint8Array.from({ length: n }, (_, i) => i % 10)];
  const stream = new Stream(seed);
  for (let at = 0; at < n; at += BATCH) {
    const some = labels.subarray(at, at + BATCH);
    images.set(toBytes(gen.draw(some, stream)), at * PIXELS);
    report(some.length);
  }
  return { images, labels };
}

/** @param {{nTrain: number, nTest: number, seed: number}} wanted */
async function make({ nTrain, nTest, seed }) {
  const gen = await DigitGenerator.load("weights.bin");
  let done = 0;
  const report = (/** @type {number} */ n) => {
    done += n;
    self.postMessage({ done });
  };
  /** @type {[string, Uint8Array<ArrayBuffer>][]} */
  const files = [];
  for (const [split, n, start] of /** @type {const} */ ([["train", nTrain, seed], ["t10k", nTest, seed + TEST]])) {
    const { images, labels } = drawn(gen, n, start, report);
    files.push([`MNIST/raw/${split}-images-idx3-ubyte`, idx(images, [n, 28, 28])]);
    files.push([`MNIST/raw/${split}-labels-idx1-ubyte`, idx(labels, [n])]);
  }
  return zipDeflated(files);
}

self.onmessage = (event) => make(event.data)
  .then((file) => self.postMessage({ file }, /** @type {any} */ ([file.buffer])))
  .catch((reason) => self.postMessage({ fault: reason.message }));
