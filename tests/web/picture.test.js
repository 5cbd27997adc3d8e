import assert from "node:assert/strict";
import { test } from "node:test";

import {
  PictureError, candidates, centre, findInk, greyOf, mainInk, readPicture, thickened,
} from "../../web/picture.js";

/** A picture of `paper` with filled boxes. */
function picture(boxes, { width = 60, height = 60, paper = 0, ink = 255 } = {}) {
  const values = new Float64Array(width * height).fill(paper);
  for (const [left, top, right, bottom] of boxes) {
    for (let y = top; y < bottom; y++) values.fill(ink, y * width + left, y * width + right);
  }
  return { values, width, height };
}

const BAR = [27, 10, 33, 50];

/** First and last row, first and last column with ink, and the sum of it. */
function extent(image) {
  const inked = [...image.keys()].filter((i) => image[i] > 0);
  const [rows, columns] = [inked.map((i) => Math.floor(i / 28)), inked.map((i) => i % 28)];
  const ends = [rows, columns].flatMap((places) => [Math.min(...places), Math.max(...places)]);
  return [...ends, image.reduce((a, b) => a + b)];
}

test("a digit is 20 pixels high and centred, whatever its place, its size and its colours", () => {
  const bar = extent(readPicture(picture([BAR])));
  assert.deepEqual(bar, [4, 23, 13, 15, 60]);
  for (const other of [
    picture([BAR], { paper: 255, ink: 0 }), picture([[7, 15, 13, 55]]),
    picture([[30, 40, 42, 120]], { width: 140, height: 140 }),
  ]) assert.deepEqual(extent(readPicture(other)), bar);
});

test("half way between two pixels is half way, whatever rounding made of it", () => {
  const shade = Float64Array.from({ length: 20 * 4 }, (_, i) => 0.1 + 0.7 * (i % 4 === 1 || i % 4 === 2));
  const image = centre({ values: shade, width: 4, height: 20 });
  const nudged = centre({ values: shade.map((value, i) => value + (i % 4 ? 1e-12 : -1e-12)), width: 4, height: 20 });
  assert.deepEqual(extent(image).slice(0, 4), extent(nudged).slice(0, 4));
});

test("specks and what touches the border are left out, second strokes are not", () => {
  const kept = (boxes) => mainInk(findInk(picture(boxes))).values.reduce((a, b) => a + b);
  const bar = kept([BAR]);
  assert.equal(kept([BAR, [2, 2, 3, 4]]), bar);
  assert.equal(kept([BAR, [40, 59, 60, 60]]), bar);
  assert.equal(kept([BAR, [38, 10, 42, 50]]), bar + 4 * 40);
});

test("thin strokes are widened, others are as they were", () => {
  const thin = findInk(picture([[30, 10, 31, 210]], { width: 220, height: 220 }));
  const wide = findInk(picture([[30, 10, 50, 210]], { width: 220, height: 220 }));
  assert.ok(thickened(thin).values.reduce((a, b) => a + b) > 5 * 200);
  assert.equal(thickened(wide), wide);
});

test("the answer that a reader is surer of counts, and others are looked for only where there is doubt", () => {
  const ring = picture([[10, 10, 50, 50]]);
  for (let y = 20; y < 40; y++) ring.values.fill(0, y * 60 + 20, y * 60 + 40);
  const all = [...candidates(ring)];
  assert.ok(all.length > 1);
  const asked = [];
  const sureOf = (sure) => (image) => sure[asked.push(image) - 1];
  assert.deepEqual(readPicture(ring, sureOf([0.7])), all[0]);
  assert.equal(asked.splice(0).length, 1);
  assert.deepEqual(readPicture(ring, sureOf([0.2, 0.9, 0.1])), all[1]);
  assert.equal(asked.splice(0).length, all.length);
  assert.deepEqual(readPicture(ring, sureOf([0.2, 0.5, 0.1])), all[0]);
});

test("an empty picture is refused", () => {
  for (const paper of [0, 128, 255]) {
    const isSaid = (e) => e instanceof PictureError && /shows no digit/.test(e.message);
    assert.throws(() => readPicture(picture([], { paper })), isSaid);
  }
});

test("colours become grey as Pillow weighs them", () => {
  const data = Uint8ClampedArray.of(255, 0, 0, 255, 0, 255, 0, 255, 0, 0, 255, 255, 9, 9, 9, 255);
  assert.deepEqual([...greyOf({ data, width: 4, height: 1 }).values], [76, 150, 29, 9]);
});
