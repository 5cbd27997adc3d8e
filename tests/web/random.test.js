import assert from "node:assert/strict";
import { test } from "node:test";

import { Stream, toNormal } from "../../web/random.js";

test("the twister gives the numbers that its authors published", () => {
  const stream = new Stream(5489);
  assert.equal(stream.next(), 3499211612);
  for (let i = 1; i < 9999; i++) stream.next();
  assert.equal(stream.next(), 4123659995);
});

test("a uniform number takes the higher bits from the first of two numbers", () => {
  const [raw, stream] = [new Stream(1), new Stream(1)];
  const [first, second] = [raw.next(), raw.next()];
  const bits = ((BigInt(first) & 0x1fffffn) << 32n) | BigInt(second);
  assert.equal(stream.uniform(), Number(bits) / 2 ** 53);
});

test("skipping is drawing without looking, wherever the stream stands", () => {
  for (const n of [0, 1, 311, 312, 313, 1000]) {
    const [drawn, skipped] = [new Stream(7), new Stream(7)];
    drawn.uniform();
    skipped.uniform();
    for (let i = 0; i < n; i++) drawn.uniform();
    skipped.skip(n);
    assert.equal(skipped.uniform(), drawn.uniform(), `after ${n}`);
  }
});

test("the quantile function is right in the middle, in both tails and far out", () => {
  const known = [[0.5, 0], [0.975, 1.959963984540054], [0.025, -1.959963984540054], [1e-10, -6.361340902404056]];
  for (const [u, x] of known) assert.ok(Math.abs(toNormal(u) - x) < 1e-14 * Math.max(1, Math.abs(x)) * 4, `at ${u}: ${toNormal(u)}`);
  assert.equal(toNormal(0), toNormal(2 ** -54));
  assert.ok(toNormal(0) > -9 && toNormal(0) < -8);
});
