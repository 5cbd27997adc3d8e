import assert from "node:assert/strict";
import { test } from "node:test";

import { WeightsError, bytesOf, crc32, readWeights } from "../../web/weights.js";
import { pack } from "./weights.js";

const numbers = Float32Array.of(1, -2.5, 3);

function small(facts) {
  return pack({ a: { shape: [3], numbers }, b: { shape: [2], numbers: Float64Array.of(0.1, 7) } }, facts);
}

test("a file gives back its tensors and facts, wherever it lies in memory", () => {
  const moved = new Uint8Array(small().length + 3).subarray(3);
  moved.set(small());
  for (const bytes of [small(), moved]) {
    const { header, tensors } = readWeights(bytes, "drawing");
    assert.deepEqual([...tensors.a], [1, -2.5, 3]);
    assert.deepEqual([...tensors.b], [0.1, 7]);
    assert.equal(header.checkpoint, "c");
  }
});

test("the check sum is that of ZIP files", () => {
  assert.equal(crc32(new TextEncoder().encode("123456789")), 0xcbf43926);
});

test("every damaged byte is noticed, and a file that arrived in part", () => {
  const whole = small();
  for (let i = 0; i < whole.length; i++) {
    const bytes = whole.slice();
    bytes[i] ^= 4;
    assert.throws(() => readWeights(bytes, "drawing"), WeightsError, `byte ${i}`);
  }
  for (const length of [0, 7, 15, 16, 100, whole.length - 1]) {
    assert.throws(() => readWeights(whole.subarray(0, length), "drawing"), WeightsError, `${length} bytes`);
  }
});

test("a page of the host instead of the file is refused, and the wrong file too", () => {
  assert.throws(() => readWeights(new TextEncoder().encode("<!doctype html><title>Not found</title>"), "drawing"), /does not begin/);
  assert.throws(() => readWeights(small(), "encoder"), /holds the part "drawing", not "encoder"/);
  assert.throws(() => readWeights(small({ version: 2 }), "drawing"), /version 2/);
});

test("weights come from bytes or from an address", async () => {
  assert.equal((await bytesOf(numbers.buffer)).length, 12);
  globalThis.fetch = async () => new Response("none", { status: 404 });
  await assert.rejects(bytesOf("weights.bin"), /weights.bin cannot be fetched \(404\)/);
  globalThis.fetch = async () => { throw new TypeError("failed"); };
  await assert.rejects(bytesOf("weights.bin"), /check the connection/);
  globalThis.fetch = async () => new Response(Uint8Array.of(1, 2));
  assert.deepEqual([...await bytesOf("weights.bin")], [1, 2]);
  await assert.rejects(bytesOf(12), WeightsError);
});
