import assert from "node:assert/strict";
import { test } from "node:test";

import { START, TABS, readAddress, toSearch, wholeNumber } from "../../web/address.js";
import { sheet, svg, zip } from "../../web/files.js";

test("an address gives back what it was made of, and leaves out what is as at the start", () => {
  assert.equal(toSearch(START), "");
  const address = { tab: "Number", digit: 3, seed: 4294967295, number: "0042", hand: 9 };
  assert.deepEqual(readAddress(toSearch(address)), { asked: address, unusable: [] });
  for (const tab of TABS) assert.equal(readAddress(toSearch({ ...START, tab })).asked.tab, tab);
});

test("what cannot be shown is named, and the start stands instead", () => {
  const { asked, unusable } = readAddress("?tab=Nowhere&digit=12&seed=-4&number=12a&hand=1e5&other=1");
  assert.deepEqual(asked, START);
  assert.deepEqual(unusable, ["tab", "digit", "seed", "number", "hand"]);
  for (const text of ["", "x", "²", "99999999999", "4294967296", "1.5"]) assert.equal(wholeNumber(text, 4294967295), null);
  assert.equal(readAddress("?number=1+234").asked.number, "1234");
});

test("a sheet has its images in rows, with black between them and at the end", () => {
  const images = new Uint8Array(3 * 784).fill(9);
  const { levels, width, height } = sheet(images, 2);
  assert.deepEqual([width, height], [58, 58]);
  assert.equal(levels.filter((level) => level === 9).length, 3 * 784);
  assert.equal(levels[28], 0);
  assert.equal(levels[30 * 58 + 30], 0);
});

test("an archive is the same whenever it is made", () => {
  const make = () => zip([["a.txt", Uint8Array.of(1, 2)], ["b.txt", new Uint8Array(0)]]);
  assert.deepEqual(make(), make());
});

test("equal neighbours of a picture are one run of its SVG", () => {
  const picture = { levels: Uint8Array.of(0, 255, 255, 16), width: 4, height: 1 };
  const text = new TextDecoder().decode(svg(picture, 2));
  assert.match(text, /<path fill="#ffffff" d="M1 0h2v1h-2z"\/><path fill="#101010" d="M3 0h1v1h-1z"\/><\/svg>/);
  assert.match(text, /width="8" height="2" viewBox="0 0 4 1"/);
});
