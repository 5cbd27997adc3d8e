import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import streamlitMap, { Extent, LatentMap, describe } from "../../web/map.js";
import { fakeElement, pointer } from "./page.js";

const islands = [[0, 0], [4, 0], [0, -3]];
const given = { islands, points: [[0.1, 0.2, 0], [4, 0.5, 1]], at: [0, 0] };

function fakeMap() {
  return fakeElement({ canvas: fakeElement(), input: [fakeElement(), fakeElement()] });
}

function near(actual, wanted) {
  actual.forEach((v, i) => assert.ok(Math.abs(v - wanted[i]) < 1e-9, `${actual} is not ${wanted}`));
}

/** What waits for a timer. */
let waiting = [];

beforeEach(() => {
  globalThis.getComputedStyle = () => ({ color: "ink", backgroundColor: "paper" });
  waiting = [];
  globalThis.setTimeout = (act) => waiting.push(act);
});

function pass() {
  waiting.splice(0).forEach((act) => act());
}

test("the map is a square around all islands, north at the top", () => {
  const extent = new Extent(islands);
  near(extent.middle, [2, -1.5]);
  near([extent.half], [2 + 1.15]);
  near(extent.toShare(extent.middle), [0.5, 0.5]);
  assert.ok(extent.toShare([0, 1])[1] < extent.toShare([0, 0])[1]);
  near(extent.fromShare(extent.toShare([1, 2])), [1, 2]);
  near(extent.clamp([99, -99]), [2 + 3.15, -1.5 - 3.15]);
});

test("a point is on an island, or nearest to one", () => {
  assert.equal(describe([0, 1], islands), "on the island of 0");
  assert.equal(describe([2.5, 0], islands), "nearest: 1");
});

test("a click and a drag move the point; it is sent after a pause, the last one only", () => {
  const root = fakeMap();
  const map = new LatentMap(root, given);
  const sent = [];
  map.send = (at) => sent.push(at);
  const { canvas } = root.children;
  canvas.onpointermove(pointer(10, 10));
  near(map.at, [0, 0]);
  canvas.onpointerdown(pointer(70, 70));
  near(map.at, map.extent.middle);
  canvas.onpointermove(pointer(140, 0));
  canvas.onpointerup();
  canvas.onpointermove(pointer(10, 10));
  assert.equal(sent.length, 0);
  pass();
  assert.equal(sent.length, 1);
  near(sent[0], [2 + 3.15, -1.5 + 3.15]);
});

test("each slider moves along its own axis, and says where the point is", () => {
  const root = fakeMap();
  const map = new LatentMap(root, given);
  const [east, north] = root.children.input;
  east.value = "2.5";
  east.oninput();
  north.value = "0.5";
  north.oninput();
  near(map.at, [2.5, 0.5]);
  assert.equal(east.attributes["aria-valuetext"], "2.5, nearest: 1");
  assert.equal(Number(east.min), map.extent.middle[0] - map.extent.half);
});

test("in Streamlit, the point that was chosen outlives its tab", () => {
  const sent = [];
  const show = (root) => streamlitMap({
    parentElement: { querySelector: () => root }, data: given, setStateValue: (name, value) => sent.push(value),
  });
  const first = fakeMap();
  show(first);
  first.children.input[0].value = "1.5";
  first.children.input[0].oninput();
  pass();
  show(first);
  const second = fakeMap();
  show(second);
  assert.equal(second.children.input[0].value, "1.5");
  assert.deepEqual(sent, [[1.5, 0]]);
});
