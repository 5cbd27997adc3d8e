import assert from "node:assert/strict";
import { test } from "node:test";

import { DigitGenerator, isNumber, levels, toBytes } from "../../web/generator.js";
import { smallEncoder, smallWeights } from "./weights.js";

const gen = await DigitGenerator.load(smallWeights());

test("the same seed gives the same images, another seed others, no seed new ones", () => {
  const five = gen.generate(7, { seed: 3 });
  assert.equal(five.length, 5 * 784);
  assert.deepEqual(gen.generate(7, { seed: 3 }), five);
  assert.notDeepEqual(gen.generate(7, { seed: 4 }), five);
  assert.notDeepEqual(gen.generate(7), gen.generate(7));
});

test("the first images do not depend on how many follow, and a stream can be entered anywhere", () => {
  const labels = [1, 2, 3, 4, 5, 6];
  const six = gen.sample(labels, { seed: 0 });
  assert.deepEqual(gen.sample([1, 2], { seed: 0 }), six.slice(0, 2 * 784));
  assert.deepEqual(gen.sample(labels.slice(4), { seed: 0, start: 4 }), six.slice(4 * 784));
  assert.deepEqual(gen.sample([]), new Float32Array(0));
});

test("at temperature 0 all images of a digit are one", () => {
  const three = gen.generate(5, { n: 3, temperature: 0 });
  assert.deepEqual(three.slice(0, 784), three.slice(2 * 784));
});

test("more digits after a number do not change its beginning", () => {
  const [short, long] = [gen.write("31", { seed: 1 }), gen.write("314", { seed: 1 })];
  for (let y = 0; y < 28; y++) assert.deepEqual(long.slice(84 * y, 84 * y + 56), short.slice(56 * y, 56 * y + 56));
});

test("a morph begins with the digit that the seed draws", () => {
  const frames = gen.morph(2, 6, { n: 4, seed: 8 });
  assert.equal(frames.length, 4 * 784);
  assert.deepEqual(frames.slice(0, 784), gen.generate(2, { n: 1, seed: 8 }));
});

test("the middle of an island is the average handwriting of its digit", () => {
  const [x, y] = gen.islands[4];
  assert.deepEqual(gen.at(x, y), { digit: 4, image: gen.inStyle([]).slice(4 * 784, 5 * 784) });
  const { points, labels } = gen.map(30, { seed: 0 });
  assert.deepEqual(labels.slice(0, 11), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]);
  points.forEach((point, i) => {
    const island = gen.islands[labels[i]];
    assert.ok(Math.hypot(point[0] - island[0], point[1] - island[1]) <= 1 + 1e-12);
  });
});

test("a handwriting needs the encoder of the same weights", async () => {
  const image = gen.generate(3, { n: 1, seed: 1 });
  const other = await DigitGenerator.load(smallWeights());
  assert.throws(() => other.restyle(image, 3), /load the encoder first/);
  await assert.rejects(other.loadEncoder(smallEncoder({ checkpoint: "another" })), /different weights/);
  await other.loadEncoder(smallEncoder());
  const bytes = toBytes(image);
  const ten = other.restyle(bytes, 3);
  assert.equal(ten.length, 7840);
  assert.deepEqual(other.restyle(Array.from(bytes, (level) => level / 255), 3), ten);
});

test("an image is read by the reader, or by Bayes' rule where the weights have none", async () => {
  const image = gen.generate(3, { n: 1, seed: 1 });
  const other = await DigitGenerator.load(smallWeights());
  assert.throws(() => other.read(image), /load the encoder first/);
  const answers = [];
  for (const hasReader of [false, true]) {
    await other.loadEncoder(smallEncoder({}, hasReader));
    const likely = other.probabilities(image);
    assert.equal(likely.length, 10);
    assert.ok(Math.abs(likely.reduce((a, b) => a + b) - 1) < 1e-6);
    assert.equal(likely[other.read(image)], Math.max(...likely));
    assert.deepEqual(other.restyle(image), other.restyle(image, other.read(image)));
    answers.push(likely);
    const read = other.read(image);
    const mine = other.write("31", { seed: 1, hand: image });
    assert.deepEqual(other.write("31", { seed: 1, hand: image, digit: read }), mine);
    assert.notDeepEqual(other.write("31", { seed: 1, hand: image, digit: 4 }), other.write("31", { seed: 1 }));
  }
  assert.notDeepEqual(answers[0], answers[1]);
});

test("a dash shows no handwriting, but can be read", async () => {
  const other = await DigitGenerator.load(smallWeights());
  await other.loadEncoder(smallEncoder({}, true));
  const dash = new Float32Array(784).fill(1, 0, 20);
  assert.throws(() => other.restyle(dash), /more than one row/);
  assert.equal(other.probabilities(dash).length, 10);
});

test("levels make paper of what is nearly black, and full ink of what is nearly white", () => {
  const tone = { black: 0.1, white: 0.9 };
  const full = 252.5 / 255;
  for (const [s, level] of [[0, 0], [0.1, 0], [0.5, full / 2], [0.9, full], [0.95, (1 + full) / 2], [1, 1]]) {
    assert.ok(Math.abs(levels(s, tone) - level) < 1e-15, `${s}: ${levels(s, tone)}`);
  }
  assert.equal(levels(0.3, null), 0.3);
});

test("a generator applies the levels of its weights", async () => {
  const tone = { black: 0.5, white: 0.6 };
  const toned = await DigitGenerator.load(smallWeights({ tone }));
  const [plain, changed] = [gen.generate(1, { seed: 0 }), toned.generate(1, { seed: 0 })];
  plain.forEach((s, i) => assert.ok(Math.abs(changed[i] - levels(s, tone)) < 1e-6));
  assert.ok(changed.some((level) => level === 0));
});

test("bytes are rounded half to even", () => {
  assert.deepEqual([...toBytes([0.5, 1.5, 2.5, 254.5].map((v) => v / 255))], [0, 2, 2, 254]);
  assert.deepEqual([...toBytes([0, 1, 0.5])], [0, 255, 128]);
  for (const wrong of [-0.1, 1.1, NaN]) assert.throws(() => toBytes([wrong]), RangeError);
});

test("a number is a text of up to twenty digits", () => {
  assert.ok(isNumber("0123") && isNumber("1".repeat(20)));
  for (const wrong of ["", "1".repeat(21), "1a", "²", " 1", 12, null]) assert.ok(!isNumber(wrong), String(wrong));
});

/** What is refused, and what the message names. */
const BAD = [
  [() => gen.generate(10), /digit must be a whole number from 0 to 9, not 10/],
  [() => gen.generate("7"), /digit .* not '7'/],
  [() => gen.generate(7, { n: 0 }), /n must be/],
  [() => gen.generate(7, { n: 100_001 }), /n must be/],
  [() => gen.generate(7, { seed: 2 ** 32 }), /seed must be a whole number from 0 to 4294967295/],
  [() => gen.generate(7, { seed: 1.5 }), /seed .* not 1.5/],
  [() => gen.generate(7, { temperature: 1.6 }), /temperature must be a number from 0 to 1.5/],
  [() => gen.sample([1, 11]), /labels\[1\] is 11/],
  [() => gen.sample(7), /labels must be one row/],
  [() => gen.sample([1], { start: 5 }), /start = 5 needs a seed/],
  [() => gen.write("12a"), /text must be 1 to 20 digits from 0 to 9, not '12a'/],
  [() => gen.morph(1, 2, { n: 1 }), /n must be a whole number from 2 to 1000/],
  [() => gen.inStyle([0, 0, 0]), /up to 2 numbers, for slant, width/],
  [() => gen.inStyle([NaN]), /up to 2 numbers/],
  [() => gen.inStyle([3]), /values must be from -2 to 2, got 3/],
  [() => gen.at(Infinity, 0), /x and y must be finite numbers/],
  [() => gen.restyle(new Float32Array(784), 3), /image is blank/],
  [() => gen.read(new Uint8Array(784)), /image is blank/],
  [() => gen.probabilities(7), /28×28/],
  [() => gen.restyle(new Float32Array(783), 3), /28×28/],
  [() => gen.restyle(new Float32Array(784).fill(2), 3), /from 0 to 1/],
  [() => gen.restyle(new Float32Array(784).fill(1, 0, 20), 3), /more than one row/],
];

test("bad input is refused by name", () => {
  for (const [act, message] of BAD) assert.throws(act, (e) => e instanceof RangeError && message.test(e.message), String(act));
});
