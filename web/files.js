/**
 * Images as files: PNG, SVG, animated GIF, ZIP and NPZ, as `mnist_vae.export` makes them.
 *
 * Images are grey levels, one byte for each pixel, 255 is ink.
 */

import { SIDE, PIXELS } from "./generator.js";
import { crc32 } from "./weights.js";

/**
 * @typedef {Uint8Array<ArrayBuffer>} Bytes
 *
 * @typedef {object} Picture
 * @property {Bytes} levels  row by row
 * @property {number} width
 * @property {number} height
 */

const TEXT = new TextEncoder();

/** @param {Uint8Array[]} parts @returns {Bytes} */
function joined(parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Numbers of 1, 2 or 4 bytes each. @param {boolean} little @param {[bytes: number, value: number][]} numbers */
function packed(little, numbers) {
  const view = new DataView(new ArrayBuffer(numbers.reduce((sum, [bytes]) => sum + bytes, 0)));
  let at = 0;
  for (const [bytes, value] of numbers) {
    if (bytes === 1) view.setUint8(at, value);
    else if (bytes === 2) view.setUint16(at, value, little);
    else view.setUint32(at, value, little);
    at += bytes;
  }
  return new Uint8Array(view.buffer);
}

/**
 * Images in rows of `columns`, two black pixels between them, as one picture.
 *
 * @param {Bytes} images  n·784
 * @param {number} columns
 * @returns {Picture}
 */
export function sheet(images, columns) {
  const n = images.length / PIXELS;
  const [step, rows] = [SIDE + 2, Math.ceil(n / columns)];
  const [width, height] = [columns * step - 2, rows * step - 2];
  const levels = new Uint8Array(width * height);
  for (let i = 0; i < n; i++) {
    for (let y = 0; y < SIDE; y++) {
      const from = i * PIXELS + y * SIDE;
      const row = Math.floor(i / columns) * step + y;
      levels.set(images.subarray(from, from + SIDE), row * width + (i % columns) * step);
    }
  }
  return { levels, width, height };
}

/** A picture with pixels of `scale` by `scale`. @param {Picture} picture @param {number} scale @returns {Picture} */
function enlarged({ levels, width, height }, scale) {
  const large = new Uint8Array(width * height * scale * scale);
  for (let y = 0; y < height * scale; y++) {
    for (let x = 0; x < width * scale; x++) {
      large[y * width * scale + x] = levels[Math.floor(y / scale) * width + Math.floor(x / scale)];
    }
  }
  return { levels: large, width: width * scale, height: height * scale };
}

/** @param {Bytes} bytes @param {CompressionFormat} [format] @returns {Promise<Bytes>} */
async function deflated(bytes, format = "deflate") {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream(format));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** @param {string} name @param {Uint8Array} content */
function pngChunk(name, content) {
  const body = joined([TEXT.encode(name), content]);
  return joined([packed(false, [[4, content.length]]), body, packed(false, [[4, crc32(body)]])]);
}

/**
 * A picture as PNG: white ink on black, or, if `transparent`, black ink on nothing.
 *
 * @param {Picture} picture
 * @param {{scale?: number, transparent?: boolean}} [options]
 */
export async function png(picture, { scale = 1, transparent = false } = {}) {
  const { levels, width, height } = enlarged(picture, scale);
  const channels = transparent ? 2 : 1;
  const rows = new Uint8Array(height * (1 + channels * width)); // each row begins with its filter: 0, none
  for (let i = 0; i < levels.length; i++) {
    const [y, x] = [Math.floor(i / width), i % width];
    rows[y * (1 + channels * width) + channels * (x + 1)] = levels[i];
  }
  const kind = transparent ? 4 : 0; // grey with transparency, or grey
  const header = packed(false, [[4, width], [4, height], [1, 8], [1, kind], [1, 0], [1, 0], [1, 0]]);
  const signature = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
  const data = pngChunk("IDAT", await deflated(rows));
  return joined([signature, pngChunk("IHDR", header), data, pngChunk("IEND", new Uint8Array(0))]);
}

/**
 * A picture as SVG: white ink on black, a path for each grey level.
 *
 * @param {Picture} picture
 * @param {number} [scale]  units of a pixel's side
 */
export function svg({ levels, width, height }, scale = 4) {
  const paths = new Map([[0, [`M0 0h${width}v${height}h-${width}z`]]]);
  for (let y = 0; y < height; y++) {
    for (let x = 0, end; x < width; x = end) {
      const level = levels[y * width + x];
      for (end = x + 1; end < width && levels[y * width + end] === level; ) end++;
      if (!level) continue;
      const path = paths.get(level) ?? [];
      paths.set(level, path);
      path.push(`M${x} ${y}h${end - x}v1h-${end - x}z`);
    }
  }
  const drawn = [...paths].map(([level, path]) => {
    const hex = level.toString(16).padStart(2, "0");
    return `<path fill="#${hex}${hex}${hex}" d="${path.join("")}"/>`;
  });
  const size = `width="${width * scale}" height="${height * scale}" viewBox="0 0 ${width} ${height}"`;
  const opening = `<svg xmlns="http://www.w3.org/2000/svg" ${size} shape-rendering="crispEdges">`;
  return TEXT.encode(`${opening}${drawn.join("")}</svg>\n`);
}

/**
 * An archive without compression, with a fixed date, so that the same content gives the same bytes.
 *
 * @param {[name: string, content: Uint8Array][]} entries
 */
export function zip(entries) {
  return archive(entries.map(([name, content]) => [name, content, content]));
}

/** An archive with compression. @param {[name: string, content: Bytes][]} entries */
export async function zipDeflated(entries) {
  const packs = entries.map(async ([name, content]) => /** @type {[string, Bytes, Bytes]} */ (
    [name, content, await deflated(content, "deflate-raw")]));
  return archive(await Promise.all(packs));
}

/**
 * Source: PKWARE, "APPNOTE.TXT: .ZIP file format specification", sections 4.3.7, 4.3.12 and 4.3.16.
 *
 * @param {[name: string, content: Uint8Array, stored: Uint8Array][]} entries  `stored` is `content` or its compression
 */
function archive(entries) {
  /** @type {Uint8Array[]} */
  const files = [];
  /** @type {Uint8Array[]} */
  const table = [];
  let at = 0;
  for (const [name, content, stored] of entries) {
    const text = TEXT.encode(name);
    const method = stored === content ? 0 : 8;
    /** @type {[number, number][]} Version, flags, method, time, date (1 January 1980), check sum, sizes and lengths. */
    const facts = [
      [2, 20], [2, 0], [2, method], [2, 0], [2, 33], [4, crc32(content)], [4, stored.length], [4, content.length],
      [2, text.length], [2, 0],
    ];
    table.push(packed(true, [[4, 0x02014b50], [2, 20], ...facts, [2, 0], [2, 0], [2, 0], [4, 0], [4, at]]), text);
    files.push(packed(true, [[4, 0x04034b50], ...facts]), text, stored);
    at += 30 + text.length + stored.length;
  }
  const directory = joined(table);
  const n = entries.length;
  const end = [[4, 0x06054b50], [2, 0], [2, 0], [2, n], [2, n], [4, directory.length], [4, at], [2, 0]];
  return joined([...files, directory, packed(true, /** @type {[number, number][]} */ (end))]);
}

/** An array as NumPy keeps it. @param {string} dtype @param {number[]} shape @param {Uint8Array} content */
function npy(dtype, shape, content) {
  const sides = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const facts = `{'descr': '${dtype}', 'fortran_order': False, 'shape': (${sides}), }`;
  const header = facts.padEnd(Math.ceil((facts.length + 11) / 64) * 64 - 11) + "\n";
  const opening = joined([Uint8Array.of(0x93), TEXT.encode("NUMPY"), Uint8Array.of(1, 0)]);
  return joined([opening, packed(true, [[2, header.length]]), TEXT.encode(header), content]);
}

/**
 * Unsigned bytes as MNIST's own files keep them.
 *
 * Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
 *
 * @param {Uint8Array} content
 * @param {number[]} shape
 */
export function idx(content, shape) {
  const opening = packed(false, [[2, 0], [1, 8], [1, shape.length]]);
  return joined([opening, packed(false, shape.map((side) => [4, side])), content]);
}

/**
 * Images with their labels and seed as NumPy's NPZ.
 *
 * @param {Bytes} images  n·784
 * @param {number[]} labels
 * @param {number} seed
 */
export function npz(images, labels, seed) {
  const wide = BigInt64Array.from(labels, BigInt);
  return zip([
    ["images.npy", npy("|u1", [labels.length, SIDE, SIDE], images)],
    ["labels.npy", npy("<i8", [labels.length], new Uint8Array(wide.buffer))],
    ["seed.npy", npy("<u4", [], packed(true, [[4, seed]]))],
  ]);
}

/**
 * Images as PNGs in a ZIP file; its `labels.csv` names file, label and seed of each.
 *
 * @param {Bytes} images  n·784
 * @param {number[]} labels
 * @param {{seed?: number, scale?: number}} [options]
 */
export async function zipOfPngs(images, labels, { seed, scale = 1 } = {}) {
  const places = String(Math.max(labels.length - 1, 0)).length;
  const names = labels.map((label, i) => `${String(i).padStart(places, "0")}_digit_${label}.png`);
  const pictures = await Promise.all(names.map((_, i) => {
    const levels = images.slice(i * PIXELS, (i + 1) * PIXELS);
    return png({ levels, width: SIDE, height: SIDE }, { scale });
  }));
  const table = ["file,label,seed", ...names.map((name, i) => `${name},${labels[i]},${seed ?? ""}`), ""].join("\n");
  /** @type {[string, Uint8Array][]} */
  const entries = names.map((name, i) => [name, pictures[i]]);
  return zip([...entries, ["labels.csv", TEXT.encode(table)]]);
}

/**
 * The codes of a GIF's pixels: LZW with codes of 9 bits that never grow, because the table is cleared in time.
 *
 * @param {Bytes} levels
 */
function gifData(levels) {
  const bytes = [];
  let [bits, held] = [0, 0];
  const put = (/** @type {number} */ code) => {
    bits |= code << held;
    for (held += 9; held >= 8; held -= 8, bits >>= 8) bytes.push(bits & 255);
  };
  levels.forEach((level, i) => {
    if (i % 250 === 0) put(256); // clear the table
    put(level);
  });
  put(257); // the end
  if (held) bytes.push(bits & 255);
  const blocks = [];
  for (let at = 0; at < bytes.length; at += 255) {
    const block = bytes.slice(at, at + 255);
    blocks.push(Uint8Array.of(block.length, ...block));
  }
  return joined([Uint8Array.of(8), ...blocks, Uint8Array.of(0)]);
}

/**
 * Frames as an animated GIF that loops.
 *
 * @param {Bytes[]} frames  784 each
 * @param {number[]} milliseconds  how long each is shown
 * @param {number} [scale]
 */
export function gif(frames, milliseconds, scale = 8) {
  const side = SIDE * scale;
  const greys = Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3));
  const parts = [TEXT.encode("GIF89a"), packed(true, [[2, side], [2, side], [1, 0xf7], [1, 0], [1, 0]]), greys];
  parts.push(Uint8Array.of(0x21, 0xff, 11), TEXT.encode("NETSCAPE2.0"), Uint8Array.of(3, 1, 0, 0, 0));
  frames.forEach((frame, i) => {
    parts.push(packed(true, [[1, 0x21], [1, 0xf9], [1, 4], [1, 0], [2, milliseconds[i] / 10], [1, 0], [1, 0]]));
    parts.push(packed(true, [[1, 0x2c], [2, 0], [2, 0], [2, side], [2, side], [1, 0]]));
    parts.push(gifData(enlarged({ levels: frame, width: SIDE, height: SIDE }, scale).levels));
  });
  return joined([...parts, Uint8Array.of(0x3b)]);
}
