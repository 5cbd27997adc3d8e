/**
 * The file of weights that `mnist-vae web` writes.
 *
 * Eight letters `MNISTVAE`; the CRC-32 of all that follows and the length of the header, 4 bytes each; the header,
 * which is JSON, filled up with spaces to a multiple of 8; the numbers of all tensors, each from a multiple of 8 on.
 * All numbers are little-endian.
 */

const MAGIC = "MNISTVAE";
const VERSION = 1;
/** Bytes before the header. */
const OPENING = 16;

/** Weights that cannot be used; the message says what is wrong and what to do. */
export class WeightsError extends Error {
  /** @param {string} message @param {ErrorOptions} [options] */
  constructor(message, options) {
    super(message, options);
    this.name = "WeightsError";
  }
}

/**
 * @typedef {object} Entry  where the numbers of a tensor stand
 * @property {"float32" | "float64"} dtype
 * @property {number[]} shape
 * @property {number} offset  bytes from the end of the header
 *
 * @typedef {object} Header
 * @property {number} version
 * @property {string} part  "drawing" or "encoder"
 * @property {string} checkpoint  SHA-256 of the weights that they come from
 * @property {{black: number, white: number} | null} tone  the levels after the sigmoid, if there are any
 * @property {string[]} styles  names of the sliders
 * @property {Record<string, Entry>} tensors
 *
 * @typedef {Float32Array | Float64Array} Numbers
 *
 * @typedef {object} Weights
 * @property {Header} header
 * @property {Record<string, Numbers>} tensors
 */

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** The check sum of ZIP and PNG. @param {Uint8Array} bytes */
export function crc32(bytes) {
  let crc = -1;
  for (let i = 0; i < bytes.length; i++) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ bytes[i]) & 255];
  return ~crc >>> 0;
}

/**
 * The bytes of a file of weights, fetched if `source` is an address.
 *
 * @param {string | URL | ArrayBuffer | Uint8Array} source
 * @returns {Promise<Uint8Array>} rejected by a `WeightsError` if there is no such file
 */
export async function bytesOf(source) {
  if (source instanceof Uint8Array) return source;
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (typeof source !== "string" && !(source instanceof URL)) {
    throw new WeightsError("weights are loaded from an address or from bytes");
  }
  const response = await fetch(source).catch((reason) => {
    throw new WeightsError(`${source} cannot be fetched: check the connection`, { cause: reason });
  });
  if (!response.ok) {
    throw new WeightsError(`${source} cannot be fetched (${response.status}): make it with "mnist-vae web"`);
  }
  return new Uint8Array(await response.arrayBuffer());
}

/**
 * Header and tensors of a file of weights. The tensors are views of `bytes`, or of a copy if they do not start at a
 * multiple of 8 in their memory.
 *
 * @param {Uint8Array} bytes
 * @param {string} part  which of the files it must be
 * @returns {Weights}
 */
export function readWeights(bytes, part) {
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : Uint8Array.from(bytes);
  const header = readHeader(aligned);
  if (header.version !== VERSION) throw damaged(`it has version ${header.version}, not ${VERSION}`);
  if (header.part !== part) throw damaged(`it holds the part "${header.part}", not "${part}"`);
  const end = OPENING + headerLength(aligned);
  /** @type {Record<string, Numbers>} */
  const tensors = {};
  for (const [name, { dtype, shape, offset }] of Object.entries(header.tensors)) {
    const length = shape.reduce((product, side) => product * side, 1);
    const { buffer, byteOffset } = aligned;
    const kind = dtype === "float32" ? Float32Array : Float64Array;
    tensors[name] = new kind(/** @type {ArrayBuffer} */ (buffer), byteOffset + end + offset, length);
  }
  return { header, tensors };
}

/** @param {Uint8Array} bytes */
function headerLength(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(MAGIC.length + 4, true);
}

/** The header of a whole and undamaged file. @param {Uint8Array} bytes @returns {Header} */
function readHeader(bytes) {
  const text = new TextDecoder();
  if (bytes.length < OPENING || text.decode(bytes.subarray(0, MAGIC.length)) !== MAGIC) {
    throw damaged("it does not begin as one");
  }
  const expected = new DataView(bytes.buffer, bytes.byteOffset).getUint32(MAGIC.length, true);
  if (crc32(bytes.subarray(MAGIC.length + 4)) !== expected) throw damaged("its check sum is wrong");
  return JSON.parse(text.decode(bytes.subarray(OPENING, OPENING + headerLength(bytes))));
}

/** @param {string} fault */
function damaged(fault) {
  return new WeightsError(`the file of weights is damaged or not one: ${fault}. Make it anew with "mnist-vae web"`);
}
