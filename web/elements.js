/** What the parts of the page share: elements, pictures on a canvas, files that are saved. */

import { SIDE, toBytes } from "./generator.js";

/**
 * @typedef {import("./files.js").Picture} Picture
 *
 * @typedef {object} Shown  what a row of download buttons saves
 * @property {string} name
 * @property {Picture} picture
 * @property {Uint8Array<ArrayBuffer>} [images]  its images, one after the other
 * @property {number[]} [labels]  of the images
 * @property {number} [seed]  of the images
 */

export const NAMES = "zero one two three four five six seven eight nine".split(" ");

/** @param {string} id @returns {any} */
export function element(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no ${id}`);
  return found;
}

/** @param {string} selector @param {ParentNode} [within] @returns {any[]} */
export function all(selector, within = document) {
  return [...within.querySelectorAll(selector)];
}

/** @param {HTMLCanvasElement} canvas @param {Picture} picture @param {string} words  for those who do not see it */
export function paint(canvas, { levels, width, height }, words) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pixels = new ImageData(width, height);
  levels.forEach((level, i) => pixels.data.set([level, level, level, 255], 4 * i));
  canvas.getContext("2d")?.putImageData(pixels, 0, 0);
  canvas.setAttribute("aria-label", words);
}

/** @param {ArrayLike<number>} image @param {number} [width] @param {number} [height] @returns {Picture} */
export function picture(image, width = SIDE, height = SIDE) {
  return { levels: toBytes(image), width, height };
}

export function newSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

/** @param {string} name @param {Uint8Array<ArrayBuffer> | Blob} content */
export function save(name, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content]));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** A message as a sentence. @param {string} message */
export function sentence(message) {
  const end = /[.?!]$/.test(message) ? "" : ".";
  return `${message.slice(0, 1).toUpperCase()}${message.slice(1)}${end}`;
}

/** The digit with its article. @param {number} digit */
export function a(digit) {
  return `${digit === 8 ? "an" : "a"} ${digit}`;
}
