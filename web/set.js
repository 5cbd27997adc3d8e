/** A labelled set of any size up to MNIST's, made in a worker. */

import { wholeNumber } from "./address.js";
import { all, element, save, sentence } from "./elements.js";

/** MNIST has as many for training, and a sixth of that for testing. */
export const MAX_SET = 60_000;
/** Seeds of test images are 2³¹ more. */
const MAX_SET_SEED = 2 ** 31 - 1;

/** @param {number} n */
function shown(n) {
  return n.toLocaleString("en");
}

/** The form in which a visitor asks for a set, and what it says meanwhile. */
export class SetMaker {
  constructor() {
    /** @type {Worker | null} */
    this.worker = null;
    all("[data-form=set]")[0].onsubmit = (/** @type {Event} */ event) => {
      event.preventDefault();
      this.start();
    };
    element("set-cancel").onclick = () => {
      this.end();
      this.say("Cancelled. Nothing was saved.");
    };
  }

  start() {
    if (this.worker) return;
    const n = wholeNumber(element("set-size").value, MAX_SET);
    const seed = wholeNumber(element("set-seed").value, MAX_SET_SEED);
    if (!n) return this.say(`Images: a whole number from 1 to ${shown(MAX_SET)}.`);
    if (seed === null) return this.say(`Seed: a whole number from 0 to ${MAX_SET_SEED}.`);
    const wanted = { nTrain: n, nTest: Math.ceil(n / 6), seed };
    const whole = wanted.nTrain + wanted.nTest;
    this.worker = new Worker("set-worker.js", { type: "module" });
    this.worker.onmessage = ({ data }) => this.hear(data, whole, `digits-${n}-seed-${seed}.zip`);
    this.worker.onerror = (event) => this.hear({ fault: event.message || "a file of the page is missing" }, whole, "");
    this.worker.postMessage(wanted);
    this.show(true, whole);
    this.say(`Drawing ${shown(whole)} images …`);
  }

  /**
   * @param {{done?: number, fault?: string, file?: Uint8Array<ArrayBuffer>}} told  by the worker
   * @param {number} whole  how many images there will be
   * @param {string} name  of the file
   */
  hear({ done, fault, file }, whole, name) {
    if (done) element("set-progress").value = done;
    if (done === whole) this.say("Packing them …");
    if (fault) this.say(sentence(`the set cannot be made: ${fault}`));
    if (file) {
      save(name, file);
      this.say(`${name}: ${shown(whole)} images, ${(file.length / 1e6).toFixed(1)} MB.`);
    }
    if (fault || file) this.end();
  }

  end() {
    this.worker?.terminate();
    this.worker = null;
    this.show(false, 1);
  }

  /** @param {boolean} isBusy @param {number} whole */
  show(isBusy, whole) {
    Object.assign(element("set-progress"), { hidden: !isBusy, max: whole, value: 0 });
    element("set-cancel").hidden = !isBusy;
    element("set-start").hidden = isBusy;
    (isBusy ? element("set-cancel") : element("set-start")).focus({ preventScroll: true });
  }

  /** @param {string} words */
  say(words) {
    element("set-note").textContent = words;
  }
}
