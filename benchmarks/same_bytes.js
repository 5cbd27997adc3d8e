/**
 * Draws a plan of images with web/generator.js, in Node or in a browser, and hands over the bytes: see same_bytes.py.
 *
 *     node benchmarks/same_bytes.js FOLDER > bytes
 *
 * In FOLDER lie weights.bin, encoder.bin and plan.json.
 */

/** A drawing as the pad has it: `painted` of same_bytes.py. */
function painted(strokes) {
  const values = new Float64Array(280 * 280).fill(Infinity);
  for (const stroke of strokes) {
    for (let i = 0; i < Math.max(stroke.length - 1, 1); i++) {
      const [[ax, ay], [bx, by]] = [stroke[i], stroke[Math.min(i + 1, stroke.length - 1)]];
      const square = Math.max((bx - ax) ** 2 + (by - ay) ** 2, 1);
      values.forEach((nearest, place) => {
        const [x, y] = [place % 280 + 0.5, Math.floor(place / 280) + 0.5];
        const along = (x - ax) * (bx - ax) + (y - ay) * (by - ay);
        const t = Math.min(Math.max(along / square, 0), 1);
        const [dx, dy] = [x - ax - t * (bx - ax), y - ay - t * (by - ay)];
        values[place] = Math.min(nearest, Math.sqrt(dx * dx + dy * dy));
      });
    }
  }
  return values.map((distance) => Math.floor(255 * Math.min(Math.max(11.5 - distance, 0), 1) + 0.5));
}

/**
 * The result of a call of a plan, as bytes.
 *
 * @param {DigitGenerator} gen @param {string} name @param {any[]} args
 */
function result(gen, { toBytes }, { readPicture }, name, args) {
  if (name === "probabilities") return new Uint8Array(gen.probabilities(gen.generate(...args)).buffer);
  if (name === "restyle") return toBytes(gen.restyle(gen.generate(...args), args[0]));
  if (name === "writeAs") {
    const [text, digit, options] = args;
    return toBytes(gen.write(text, { seed: options.seed, hand: gen.generate(digit, options), digit }));
  }
  if (name === "at") return toBytes(gen.at(...args).image);
  if (name !== "readPicture") return toBytes(gen[name](...args));
  const drawing = { values: painted(...args), width: 280, height: 280 };
  return toBytes(readPicture(drawing, (image) => Math.max(...gen.probabilities(image))));
}

/**
 * The results of a plan, call by call, as bytes.
 *
 * @param {typeof import("../web/generator.js")} generator
 * @param {typeof import("../web/picture.js")} picture
 * @param {{weights: Uint8Array, encoder: Uint8Array, plan: [name: string, args: any[]][]}} given
 */
async function* drawn(generator, picture, { weights, encoder, plan }) {
  const gen = await generator.DigitGenerator.load(weights);
  await gen.loadEncoder(encoder);
  for (const [name, args] of plan) yield result(gen, generator, picture, name, args);
}

async function inNode() {
  const { readFile } = await import("node:fs/promises");
  const read = (name) => readFile(`${process.argv[2]}/${name}`);
  const plan = JSON.parse(String(await read("plan.json")));
  const given = { weights: await read("weights.bin"), encoder: await read("encoder.bin"), plan };
  const modules = [await import("../web/generator.js"), await import("../web/picture.js")];
  for await (const bytes of drawn(...modules, given)) process.stdout.write(bytes);
}

async function inBrowser() {
  const fetched = async (name) => new Uint8Array(await (await fetch(name)).arrayBuffer());
  const plan = await (await fetch("plan.json")).json();
  const given = { weights: await fetched("weights.bin"), encoder: await fetched("encoder.bin"), plan };
  const parts = [];
  const modules = [await import("/web/generator.js"), await import("/web/picture.js")];
  for await (const bytes of drawn(...modules, given)) parts.push(bytes);
  await fetch("bytes", { method: "POST", body: new Blob(parts) });
}

if (typeof document === "undefined") await inNode();
else await inBrowser().catch((reason) => fetch("failed", { method: "POST", body: String(reason) }));
