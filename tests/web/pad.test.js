import assert from "node:assert/strict";
import { test } from "node:test";

import streamlitPad, { Drawing, PEN, Pad, SIDE, paint, readFile } from "../../web/pad.js";
import { fakeElement, fakePen, pointer } from "./page.js";

globalThis.Image = class { };

const given = { session: "a", serial: 0, shown: "", said: "", limit: 100 };

function fakePad() {
  return fakeElement({
    "canvas": fakeElement(),
    ".pad-hint": fakeElement(),
    ".pad-note": fakeElement(),
    ".pad-said": fakeElement(),
    "[data-act=undo]": fakeElement(),
    "[data-act=clear]": fakeElement(),
    "input[type=file]": fakeElement(),
  });
}

function mount(more = {}) {
  const root = fakePad();
  const sent = [];
  const pad = new Pad(root, { ...given, ...more });
  pad.send = (message) => sent.push(message);
  return { root: root.children, sent, pad };
}

function stroke(pad, ...places) {
  const [first, ...others] = places;
  pad.canvas.onpointerdown(pointer(...first));
  for (const place of others) pad.canvas.onpointermove(pointer(...place));
  pad.canvas.onpointerup(pointer(...places[places.length - 1]));
}

test("a drawing keeps whole pixels of the pad, and no two points on one place", () => {
  const drawing = new Drawing();
  drawing.begin([10.4, -5]);
  drawing.extend([11, 0]);
  drawing.extend([400, 20]);
  assert.deepEqual(drawing.strokes, [[[10, 0], [SIDE, 20]]]);
  drawing.undo();
  assert.ok(drawing.isEmpty);
});

test("a dot is a disc, a longer stroke is a line", () => {
  const drawing = new Drawing();
  drawing.begin([50, 60]);
  drawing.begin([1, 1]);
  drawing.extend([9, 9]);
  const pen = fakePen();
  paint(pen, drawing);
  const names = pen.drawn.map(([name]) => name);
  assert.deepEqual(pen.drawn.find(([name]) => name === "arc").slice(0, 4), ["arc", 50, 60, PEN / 2]);
  assert.equal(names.filter((name) => name === "fill").length, 1);
  assert.equal(names.filter((name) => name === "stroke").length, 1);
});

test("a stroke is sent when it ends, in pixels of the pad whatever its size on the screen", () => {
  const { pad, sent, root } = mount();
  assert.equal(root[".pad-hint"].hidden, false);
  pad.canvas.onpointerdown(pointer(10, 10));
  assert.equal(root[".pad-hint"].hidden, true);
  pad.canvas.onpointermove(pointer(20, 10, { getCoalescedEvents: () => [pointer(15, 10)] }));
  assert.deepEqual(sent, []);
  pad.canvas.onpointerup(pointer(20, 10));
  assert.deepEqual(pad.drawing.strokes, [[[20, 20], [30, 20], [40, 20]]]);
  assert.deepEqual(sent, [{ kind: "drawing", serial: 1, picture: "data:image/png;base64,AAAA" }]);
  assert.match(root.canvas.attributes["aria-label"], /1 stroke\./);
});

test("a second finger and the right mouse button draw nothing", () => {
  const { pad, sent } = mount();
  pad.canvas.onpointerdown(pointer(10, 10, { button: 2 }));
  assert.ok(pad.drawing.isEmpty);
  pad.canvas.onpointerdown(pointer(10, 10));
  pad.canvas.onpointerdown(pointer(90, 90, { pointerId: 2 }));
  pad.canvas.onpointermove(pointer(99, 99, { pointerId: 2 }));
  pad.canvas.onpointerup(pointer(99, 99, { pointerId: 2 }));
  assert.equal(sent.length, 0);
  pad.canvas.onpointercancel(pointer(10, 10));
  assert.deepEqual(pad.drawing.strokes, [[[20, 20]]]);
});

test("undo takes back a stroke at a time, clear all of them", () => {
  const { pad, sent, root } = mount();
  stroke(pad, [10, 10], [20, 20]);
  stroke(pad, [50, 50], [60, 60]);
  root["[data-act=undo]"].onclick();
  assert.equal(pad.drawing.strokes.length, 1);
  root["[data-act=undo]"].onclick();
  assert.deepEqual(sent.at(-1), { kind: "nothing", serial: 4, picture: "" });
  assert.equal(root["[data-act=undo]"].disabled && root["[data-act=clear]"].disabled, true);
  stroke(pad, [10, 10], [20, 20]);
  stroke(pad, [50, 50], [60, 60]);
  root["[data-act=clear]"].onclick();
  assert.ok(pad.drawing.isEmpty);
  assert.equal(sent.at(-1).kind, "nothing");
});

test("an answer to an older message changes nothing, nor does one during a stroke", () => {
  const { pad, root } = mount();
  stroke(pad, [10, 10], [20, 20]);
  pad.update({ ...given, serial: 0, shown: "data:old", said: "I read a 1." });
  assert.equal(pad.shown, "");
  assert.equal(root[".pad-said"].textContent, "");
  pad.canvas.onpointerdown(pointer(1, 1));
  pad.update({ ...given, serial: 1, shown: "data:sample" });
  assert.equal(pad.shown, "");
  pad.canvas.onpointerup(pointer(1, 1));
  pad.update({ ...given, serial: 2, said: "I read a 4." });
  assert.equal(root[".pad-said"].textContent, "I read a 4.");
});

test("a sample covers the drawing, which comes back with the sample's end; a stroke on a sample begins anew", () => {
  const { pad, root } = mount();
  stroke(pad, [10, 10], [20, 20]);
  pad.update({ ...given, serial: 1, shown: "data:sample" });
  assert.equal(root["[data-act=undo]"].disabled, true, "nobody sees what it would take back");
  assert.equal(root["[data-act=clear]"].disabled, false);
  pad.update({ ...given, serial: 1 });
  assert.equal(pad.drawing.strokes.length, 1);
  pad.update({ ...given, serial: 1, shown: "data:sample" });
  stroke(pad, [50, 50], [60, 60]);
  assert.deepEqual(pad.drawing.strokes, [[[100, 100], [120, 120]]]);
});

test("a picture that was still being read when another took its place is not shown", () => {
  const images = [];
  globalThis.Image = class { constructor() { images.push(this); } };
  const { pad } = mount({ shown: "data:first" });
  pad.update({ ...given, shown: "data:second" });
  images[1].onload();
  images[0].onload();
  assert.equal(pad.picture, images[1]);
});

test("a file that is too large is reduced, and refused in words where that is impossible", async () => {
  globalThis.FileReader = class {
    readAsDataURL(file) {
      this.result = `data:;${file.size}`;
      this.onload();
    }
  };
  globalThis.createImageBitmap = () => Promise.reject(new Error("no picture"));
  assert.equal(await readFile({ size: 99 }, 100), "data:;99");
  const { pad, sent, root } = mount({ limit: 2 ** 21 });
  pad.file.files = [{ size: 3 * 2 ** 20 }];
  await pad.file.onchange();
  assert.match(root[".pad-note"].textContent, /larger than 2048 kB/);
  assert.equal(sent.length, 0);

  globalThis.createImageBitmap = () => Promise.resolve({ width: 500, height: 900, close() {} });
  assert.equal(await readFile({ size: 99, type: "image/png" }, 100), "data:;99", "small and known: sent as it is");
  globalThis.createImageBitmap = () => Promise.resolve({ width: 4000, height: 1000, close() {} });
  let alpha = 255;
  const pen = Object.assign(fakePen(), { getImageData: () => ({ data: [0, 0, 0, 255, 0, 0, 0, alpha] }) });
  const sizes = { "image/png": 60, "image/jpeg": 50 };
  const canvas = { getContext: () => pen, toBlob: (done, type, quality) => done({ size: quality > 0.5 ? 2 ** 22 : sizes[type], type }) };
  globalThis.document = { createElement: () => canvas };
  await pad.file.onchange();
  assert.deepEqual([canvas.width, canvas.height], [1024, 256]);
  assert.deepEqual(sent, [{ kind: "picture", serial: 1, picture: "data:;50" }]);
  assert.equal(pad.file.value, "", "the same file may be chosen again");
  assert.ok(pen.drawn.some(([name]) => name === "fillRect"), "a JPEG has white paper");
  pen.drawn.length = alpha = 0;
  await pad.file.onchange();
  assert.equal(sent[1].picture, "data:;60", "what is transparent stays so, in a PNG");
  assert.ok(!pen.drawn.some(([name]) => name === "fillRect"));
  sizes["image/png"] = 2 ** 22;
  await pad.file.onchange();
  assert.equal(sent[2].picture, "data:;50", "unless that is too large");
});

test("in Streamlit, the drawing outlives its tab, and a restart of the server", () => {
  const sent = [];
  const show = (root, data) => streamlitPad({
    parentElement: { querySelector: () => root }, data: { ...given, ...data }, setTriggerValue: (name, value) => sent.push(value),
  });
  const first = fakePad();
  show(first, {});
  first.children.canvas.onpointerdown(pointer(10, 10));
  first.children.canvas.onpointerup(pointer(10, 10));
  assert.equal(sent.length, 1);
  show(first, { serial: 1 });
  const second = fakePad();
  show(second, { serial: 1 });
  assert.match(second.children.canvas.attributes["aria-label"], /1 stroke\./);
  assert.equal(sent.length, 1);
  show(second, { serial: 0, session: "b" });
  assert.deepEqual(sent.map(({ serial }) => serial), [1, 2], "sent again to who has forgotten it");
});
