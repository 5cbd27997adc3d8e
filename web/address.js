/** What an address of the page asks for. The app has the same addresses: `?digit=7&seed=123` is the same five there. */

import { MAX_SEED, isNumber } from "./generator.js";

export const TABS = ["Generate", "Handwriting", "Number", "Explore", "Quality"];

/**
 * @typedef {object} Address
 * @property {string} tab
 * @property {number} digit
 * @property {number} seed  of the five images
 * @property {string} number
 * @property {number} hand  seed of the number's handwriting
 */

/** What an address without parameters shows. @type {Readonly<Address>} */
export const START = { tab: "Generate", digit: 7, seed: 0, number: "2026", hand: 0 };

/** @param {string} text */
export function withoutSpaces(text) {
  return text.replace(/\s+/g, "");
}

/**
 * The number that `text` spells, or null if it spells none from 0 to `largest`.
 * @param {string} text
 * @param {number} largest
 */
export function wholeNumber(text, largest) {
  const figures = withoutSpaces(text);
  if (!/^[0-9]{1,10}$/.test(figures)) return null;
  return Number(figures) <= largest ? Number(figures) : null;
}

/** @param {keyof Address} name @param {string} text @returns {string | number | null} null if that cannot be shown */
function readParameter(name, text) {
  if (name === "tab") return TABS.includes(text) ? text : null;
  if (name === "number") return isNumber(withoutSpaces(text)) ? withoutSpaces(text) : null;
  return wholeNumber(text, name === "digit" ? 9 : MAX_SEED);
}

/**
 * What the parameters of an address ask for, and the names of those that cannot be shown.
 *
 * @param {string} search
 * @returns {{asked: Address, unusable: string[]}}
 */
export function readAddress(search) {
  const parameters = new URLSearchParams(search);
  /** @type {Record<string, string | number>} */
  const asked = { ...START };
  const unusable = [];
  for (const name of /** @type {(keyof Address)[]} */ (Object.keys(START))) {
    const text = parameters.get(name);
    if (text === null) continue;
    const value = readParameter(name, text);
    if (value === null) unusable.push(name);
    else asked[name] = value;
  }
  return { asked: /** @type {Address} */ (/** @type {unknown} */ (asked)), unusable };
}

/** The parameters that show `address`; what is as at the start is left out. @param {Address} address */
export function toSearch(address) {
  const parameters = new URLSearchParams();
  for (const name of /** @type {(keyof Address)[]} */ (Object.keys(START))) {
    if (address[name] !== START[name]) parameters.set(name, String(address[name]));
  }
  const text = String(parameters);
  return text ? `?${text}` : "";
}
