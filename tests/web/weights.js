/** Small files of weights, made up. */
import { crc32 } from "../../web/weights.js";

/** A file of weights as Python packs it. */
export function pack(tensors, facts = {}) {
  const entries = {};
  const parts = [];
  let offset = 0;
  for (const [name, { shape, numbers }] of Object.entries(tensors)) {
    const dtype = numbers instanceof Float32Array ? "float32" : "float64";
    entries[name] = { dtype, shape, offset };
    const part = Buffer.alloc(Math.ceil(numbers.byteLength / 8) * 8);
    part.set(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength));
    parts.push(part);
    offset += part.length;
  }
  const text = JSON.stringify({ version: 1, part: "drawing", checkpoint: "c", tone: null, styles: [], tensors: entries, ...facts });
  const header = Buffer.from(text.padEnd(Math.ceil(Buffer.byteLength(text) / 8) * 8));
  const body = Buffer.concat([header, ...parts]);
  const opening = Buffer.from("MNISTVAE........");
  opening.writeUInt32LE(header.length, 12);
  const file = Buffer.concat([opening, body]);
  file.writeUInt32LE(crc32(file.subarray(12)), 8);
  return new Uint8Array(file);
}

/** Numbers from −1 to 1 in an order that looks like none. */
function mixed(shape, kind = Float32Array, scale = 1) {
  const n = shape.reduce((product, side) => product * side, 1);
  return { shape, numbers: kind.from({ length: n }, (_, i) => scale * Math.sin(i * 12.9898 + n)) };
}

const [D, K, TRIANGLE] = [2, 3, 3];

/** Weights of a network of the real layers, for 2 latents and 3 Gaussians per digit, that draw noise. */
export function smallWeights(facts = {}) {
  const factors = mixed([10, K, TRIANGLE], Float32Array, 0.3);
  for (let k = 0; k < 10 * K; k++) factors.numbers[TRIANGLE * k] = factors.numbers[TRIANGLE * k + 2] = 0.7;
  return pack({
    "decoder.0.weight": mixed([D + 10, 256]), "decoder.0.bias": mixed([256]),
    "decoder.1.weight": mixed([256, 512], Float32Array, 0.1), "decoder.1.bias": mixed([512]),
    "decoder.2.weight": mixed([512, 784], Float32Array, 0.1), "decoder.2.bias": mixed([784]),
    "prior.weights": { shape: [10, K], numbers: new Float32Array(10 * K).fill(1 / K) },
    "prior.means": mixed([10, K, D]), "prior.factors": factors,
    "prior.threshold": { shape: [10], numbers: new Float32Array(10).fill(-2) },
    "hand.mean": mixed([10, D], Float64Array), "hand.root": mixed([10, TRIANGLE]),
    "hand.transport": mixed([10, 9, TRIANGLE], Float64Array), "hand.slope": mixed([10, 2, D], Float64Array),
    "hand.correction": mixed([10, D, 2], Float64Array), "hand.traits_mean": mixed([10, 2], Float64Array),
    "hand.traits_std": { shape: [10, 2], numbers: new Float64Array(20).fill(1) },
    "style.directions": mixed([10, D, 2], Float64Array), "map.place": mixed([10, 2, D], Float64Array),
    "map.centres": { shape: [10, 2], numbers: Float64Array.from({ length: 20 }, (_, i) => 3 * i) },
  }, { styles: ["slant", "width"], ...facts });
}

/** A reader of the real layers, with 2 and 3 filters, that reads noise. */
function smallReader() {
  const wide = (channels) => mixed([channels], Float64Array);
  return {
    "reader.0.weight": mixed([5, 5, 1, 2]), "reader.0.scale": wide(2), "reader.0.shift": wide(2),
    "reader.1.weight": mixed([5, 5, 2, 3]), "reader.1.scale": wide(3), "reader.1.shift": wide(3),
    "reader.2.weight": mixed([4, 4, 3, 6]), "reader.2.scale": wide(6), "reader.2.shift": wide(6),
    "reader.out.weight": mixed([6, 10]), "reader.out.bias": mixed([10]),
  };
}

/** The encoder's part of the same weights, with a reader or without. */
export function smallEncoder(facts = {}, hasReader = false) {
  return pack({
    ...(hasReader ? smallReader() : {}),
    "encoder.0.weight": mixed([784, 4]), "encoder.0.bias": mixed([4]),
    "encoder.1.weight": mixed([4, 3]), "encoder.1.bias": mixed([3]),
    "encoder.2.weight": mixed([3, D]), "encoder.2.bias": mixed([D]),
  }, { part: "encoder", ...facts });
}
