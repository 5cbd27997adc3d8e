/** The page without a server: its controls, its pictures, and the address that opens the same ones again. */

import { readAddress, toSearch, wholeNumber, withoutSpaces } from "./address.js";
import { NAMES, all, element, newSeed, paint, picture, save } from "./elements.js";
import { gif, npz, png, sheet, svg, zipOfPngs } from "./files.js";
import { DigitGenerator, MAX_SEED, MAX_TEXT, PIXELS, REACH, SIDE, isNumber, toBytes } from "./generator.js";
import { Hand } from "./hand.js";
import { LatentMap, describe } from "./map.js";
import { SetMaker } from "./set.js";

/**
 * @typedef {import("./address.js").Address} Address
 * @typedef {import("./elements.js").Shown} Shown
 */

const N = 5;
const FRAMES = 24;
/** Frames that a still morph shows. */
const STEPS = 12;
/** Milliseconds of a frame, and of the first and the last one. */
const FRAME = 60;
const REST = 360;
const MAP_POINTS = 1500;
/** Pixels left of the chosen tab in which another one is seen, where not all fit. */
const TAB_BEFORE = 60;

/** Everything that the page shows, for a generator whose weights are there. */
class Page {
  /** @param {DigitGenerator} gen @param {Address} address */
  constructor(gen, address) {
    this.gen = gen;
    this.address = address;
    /** What the rows of buttons save, by the name of the row. @type {Record<string, Shown>} */
    this.shown = {};
    /** @type {Uint8Array<ArrayBuffer>} */
    this.five = new Uint8Array(0);
    this.morphHand = 0;
    this.timer = 0;
    this.values = gen.styles.map(() => 0);
    /** @type {LatentMap | null} */
    this.map = null;
    this.set = new SetMaker();
    this.hand = new Hand(gen, this.shown, () => this.loadEncoder());
    this.listen();
    this.show();
  }

  listen() {
    this.on("generate", () => this.go({ seed: newSeed() }));
    this.on("number", () => this.go({ hand: newSeed() }));
    this.on("morph", () => this.morph(newSeed()));
    element("digit").onchange = () => this.go({ digit: Number(element("digit").value) });
    element("seed").onchange = () => this.typed("seed");
    element("hand").onchange = () => this.typed("hand");
    element("number").oninput = () => this.typeNumber();
    element("number").onchange = () => this.typeNumber(true);
    for (const id of ["from", "to"]) element(id).onchange = () => this.morph();
    element("animate").onclick = () => this.morph(this.morphHand, this.timer === 0);
    element("level").onclick = () => this.level();
    for (const button of all("[data-save]")) button.onclick = () => this.saveOne(Number(button.dataset.save));
    for (const button of all("[data-kind]")) {
      const row = button.closest("[data-files]").dataset.files;
      button.onclick = () => this.saveAll(row, button.dataset.kind);
    }
    for (const tab of all("[role=tab]")) tab.onclick = () => this.go({ tab: tab.dataset.tab });
    window.onpopstate = () => {
      this.address = readAddress(location.search).asked;
      this.show();
    };
  }

  /** Fetch what reads digits, once. */
  async loadEncoder() {
    if (!this.gen.encoder) await kept("encoder.bin", (source) => this.gen.loadEncoder(source));
  }

  /** @param {string} form @param {() => void} act */
  on(form, act) {
    all(`[data-form=${form}]`)[0].onsubmit = (/** @type {Event} */ event) => {
      event.preventDefault();
      act();
    };
  }

  /** Show something else, and let the address say so. @param {Partial<Address>} change */
  go(change) {
    const before = toSearch(this.address);
    this.address = { ...this.address, ...change };
    element("note").hidden = true;
    const search = toSearch(this.address);
    if (search !== before) history.pushState(null, "", search || location.pathname);
    this.show();
  }

  /** @param {"seed" | "hand"} name */
  typed(name) {
    const value = wholeNumber(element(name).value, MAX_SEED);
    const note = element(name === "seed" ? "seed-note" : "number-hand-note");
    note.textContent = value === null ? `A whole number from 0 to ${MAX_SEED}.` : "";
    if (value !== null) this.go({ [name]: value });
  }

  typeNumber(done = false) {
    const number = withoutSpaces(element("number").value);
    element("number-note").textContent = isNumber(number) ? "" : `A number is 1 to ${MAX_TEXT} digits from 0 to 9.`;
    if (!isNumber(number)) return;
    if (done) this.go({ number });
    else this.write(number);
  }

  show() {
    const { tab, digit, seed, number, hand } = this.address;
    showTab(tab);
    Object.assign(element("digit"), { value: String(digit) });
    Object.assign(element("seed"), { value: String(seed) });
    Object.assign(element("number"), { value: number });
    Object.assign(element("hand"), { value: String(hand) });
    for (const note of all(".wrong")) note.textContent = "";
    if (tab === "Generate") this.generate();
    if (tab === "Handwriting") this.hand.open();
    if (tab === "Number") this.write(number);
    if (tab === "Explore") this.explore();
    else this.stop();
  }

  generate() {
    const { digit, seed } = this.address;
    this.five = toBytes(this.gen.generate(digit, { n: N, seed }));
    all("#five canvas").forEach((canvas, i) => {
      const levels = this.five.slice(i * PIXELS, (i + 1) * PIXELS);
      const words = `Handwritten ${NAMES[digit]}, variation ${i + 1} of ${N}`;
      paint(canvas, { levels, width: SIDE, height: SIDE }, words);
    });
    const name = `digit-${digit}-seed-${seed}`;
    this.shown.five = { name, picture: sheet(this.five, N), images: this.five, labels: Array(N).fill(digit), seed };
    element("generate-code").textContent =
      `from mnist_vae.generator import DigitGenerator\nDigitGenerator.load().generate(${digit}, n=${N}, seed=${seed})`;
  }

  /** @param {string} number */
  write(number) {
    const { hand } = this.address;
    const line = picture(this.gen.write(number, { seed: hand }), SIDE * number.length);
    paint(element("line"), line, `The number ${number} in one handwriting`);
    element("line").style.width = `${56 * number.length}px`;
    this.shown.line = { name: `${number}-handwriting-${hand}`, picture: line };
    element("number-code").textContent =
      `from mnist_vae.generator import DigitGenerator\nDigitGenerator.load().write('${number}', seed=${hand})`;
  }

  explore() {
    if (!this.map) {
      this.makeSliders();
      this.makeMap();
    }
    this.style();
    this.morph();
  }

  makeSliders() {
    this.gen.styles.forEach((name, k) => {
      const slider = Object.assign(document.createElement("input"), {
        type: "range", min: -REACH, max: REACH, step: 0.1, value: 0, id: `style-${name}`,
      });
      const output = Object.assign(document.createElement("output"), { htmlFor: slider.id });
      const label = document.createElement("label");
      label.append(`${name[0].toUpperCase()}${name.slice(1)}`, output, slider);
      element("sliders").append(label);
      slider.oninput = () => {
        this.values[k] = Number(slider.value);
        requestAnimationFrame(() => this.style());
      };
    });
  }

  level() {
    this.values = this.values.map(() => 0);
    this.style();
  }

  style() {
    const words = this.gen.styles.map((name, k) => `${name} ${signed(this.values[k])}`);
    all("#sliders input").forEach((slider, k) => {
      slider.value = String(this.values[k]);
      slider.previousElementSibling.value = signed(this.values[k]);
    });
    const ten = sheet(toBytes(this.gen.inStyle(this.values)), 10);
    paint(element("style"), ten, `All ten digits with ${words.join(", ")} standard deviations`);
    const moved = this.gen.styles.flatMap((name, k) => (this.values[k] ? [`${name}${signed(this.values[k])}`] : []));
    this.shown.style = { name: `style-${moved.join("-") || "average"}`, picture: ten };
  }

  stop() {
    clearInterval(this.timer);
    this.timer = 0;
  }

  morph(hand = this.morphHand, animate = this.timer !== 0) {
    this.stop();
    this.morphHand = hand;
    const [start, end] = ["from", "to"].map((id) => Number(element(id).value));
    const strip = sheet(toBytes(this.gen.morph(start, end, { n: STEPS, seed: hand })), 6);
    this.shown.morph = { name: `${start}-to-${end}-handwriting-${hand}`, picture: strip };
    element("animate").setAttribute("aria-pressed", String(animate));
    element("morph").classList.toggle("moving", animate);
    if (animate) this.animate(start, end);
    else paint(element("morph"), strip, `Twelve steps from a handwritten ${NAMES[start]} to ${NAMES[end]}`);
  }

  /** The frames of a morph. @param {number} start @param {number} end */
  frames(start, end) {
    const bytes = toBytes(this.gen.morph(start, end, { n: FRAMES, seed: this.morphHand }));
    return Array.from({ length: FRAMES }, (_, i) => bytes.slice(i * PIXELS, (i + 1) * PIXELS));
  }

  /** @param {number} start @param {number} end */
  animate(start, end) {
    const frames = this.frames(start, end);
    const pause = REST / FRAME;
    const order = [...backAndForth(frames.length)].flatMap((i) => (
      i === 0 || i === frames.length - 1 ? Array(pause).fill(i) : [i]
    ));
    let at = 0;
    const step = () => {
      const levels = frames[order[at++ % order.length]];
      const words = `A handwritten ${NAMES[start]} turns into ${NAMES[end]} and back`;
      paint(element("morph"), { levels, width: SIDE, height: SIDE }, words);
    };
    step();
    this.timer = setInterval(step, FRAME);
  }

  makeMap() {
    const { points, labels } = this.gen.map(MAP_POINTS, { seed: 0 });
    const [east, north] = this.gen.styles;
    element("map-words").textContent =
      `Each island is a digit, look-alikes are neighbours. On an island, ${east} grows to the east and ${north} to ` +
      "the north. Point, click, drag, or use the sliders.";
    const { islands } = this.gen;
    const given = { points: points.map(([x, y], i) => /** @type {[number, number, number]} */ ([x, y, labels[i]])) };
    const map = new LatentMap(all(".map")[0], { ...given, islands, at: islands[8], pause: 0 });
    this.map = map;
    map.send = (at) => this.there(at);
    // What lies under the pointer is shown, without a click; the chosen point comes back when the pointer leaves.
    map.canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse" && map.pointer === null) this.there(map.extent.clamp(map.place(event)));
    });
    map.canvas.addEventListener("pointerleave", () => this.there(map.at));
    this.there(map.at);
  }

  /** @param {import("./map.js").Point} at */
  there(at) {
    const { digit, image } = this.gen.at(...at);
    paint(element("there"), picture(image), `The handwritten ${NAMES[digit]} at this point of the map`);
    const words = describe(at, this.gen.islands);
    element("there-words").textContent = `${words[0].toUpperCase()}${words.slice(1)}`;
  }

  /** @param {number} i */
  async saveOne(i) {
    const levels = this.five.slice(i * PIXELS, (i + 1) * PIXELS);
    const bytes = await png({ levels, width: SIDE, height: SIDE }, { scale: 8 });
    save(`${this.shown.five.name}-${i + 1}.png`, bytes);
  }

  /** @param {string} row @param {string} kind */
  async saveAll(row, kind) {
    const { name, picture: image, images = new Uint8Array(0), labels = [], seed } = this.shown[row];
    if (kind === "png") save(`${name}.png`, await png(image, { scale: 8 }));
    if (kind === "clear") save(`${name}-transparent.png`, await png(image, { scale: 8, transparent: true }));
    if (kind === "svg") save(`${name}.svg`, svg(image));
    if (kind === "zip") save(`${name}.zip`, await zipOfPngs(images, labels, { seed, scale: row === "ten" ? 8 : 1 }));
    if (kind === "npz") save(`${name}.npz`, npz(images, labels, seed ?? 0));
    if (kind === "gif") save(`${name}.gif`, this.gif());
  }

  gif() {
    const [start, end] = ["from", "to"].map((id) => Number(element(id).value));
    const frames = this.frames(start, end);
    const order = [...backAndForth(FRAMES)];
    const times = order.map((i) => (i === 0 || i === FRAMES - 1 ? REST : FRAME));
    return gif(order.map((i) => frames[i]), times);
  }
}

/** 0, 1, … n − 1, and back to 1. @param {number} n */
function* backAndForth(n) {
  for (let i = 0; i < n; i++) yield i;
  for (let i = n - 2; i > 0; i--) yield i;
}

/** @param {number} value */
function signed(value) {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)}`;
}

/** @param {string} name */
function showTab(name) {
  document.body.dataset.tab = name;
  for (const tab of all("[role=tab]")) {
    const isOpen = tab.dataset.tab === name;
    tab.setAttribute("aria-selected", String(isOpen));
    tab.tabIndex = isOpen ? 0 : -1;
    element(tab.getAttribute("aria-controls")).hidden = !isOpen;
    if (isOpen) tab.parentElement.scrollLeft = tab.offsetLeft - tab.parentElement.offsetLeft - TAB_BEFORE;
  }
}

/** Arrow keys go from tab to tab. @param {KeyboardEvent} event */
function turnTabs(event) {
  const steps = { ArrowRight: 1, ArrowLeft: -1 };
  const step = steps[/** @type {keyof typeof steps} */ (event.key)];
  if (!step) return;
  const tabs = all("[role=tab]");
  const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
  next.focus();
  next.click();
}

/**
 * Use a file; what an earlier visit kept of it is thrown away if it is damaged.
 *
 * @template T
 * @param {string} file
 * @param {(source: string | ArrayBuffer) => Promise<T>} use
 * @returns {Promise<T>}
 */
async function kept(file, use) {
  try {
    return await use(file);
  } catch (reason) {
    if (!("caches" in window)) throw reason;
    for (const name of await caches.keys()) {
      if (!name.startsWith("mnist-digits ")) continue;
      const cache = await caches.open(name);
      await cache.delete(new URL(file, location.href));
    }
    const response = await fetch(file, { cache: "reload" }).catch(() => { throw reason; });
    if (!response.ok) throw reason;
    return use(await response.arrayBuffer());
  }
}

async function open() {
  const trouble = element("trouble");
  trouble.hidden = true;
  document.body.classList.add("is-waiting");
  const { asked, unusable } = readAddress(location.search);
  showTab(asked.tab);
  element("digit").value = String(asked.digit);
  try {
    const page = new Page(await kept("weights.bin", (source) => DigitGenerator.load(source)), asked);
    if (unusable.length) {
      const note = element("note");
      note.textContent = `The link had no usable ${unusable.join(" and no usable ")}: here is something else instead.`;
      note.hidden = false;
    }
    for (const part of all("button, select, input")) part.disabled = false;
    return page;
  } catch (reason) {
    const text = reason instanceof Error ? reason.message : String(reason);
    trouble.querySelector("p").textContent = `The page cannot draw: ${text}.`.replace("..", ".");
    trouble.querySelector("button").onclick = open;
    trouble.hidden = false;
  } finally {
    document.body.classList.remove("is-waiting");
  }
}

/** Keep the page for use without a network; what reads digits, too, once there is nothing else to do. */
async function keepForLater() {
  await navigator.serviceWorker.register("service-worker.js");
  const { serviceWorker } = navigator;
  if (!serviceWorker.controller) {
    await new Promise((done) => { serviceWorker.oncontrollerchange = done; }); // before, nothing would be kept
  }
  if (/** @type {any} */ (navigator).connection?.saveData) return;
  await fetch("encoder.bin", /** @type {RequestInit} */ ({ priority: "low" }));
}

all("[role=tablist]")[0].onkeydown = turnTabs;
await open();
if ("serviceWorker" in navigator) await keepForLater().catch(() => {}); // the page does without
