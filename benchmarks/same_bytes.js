/**
 * Draws a plan of images with web/generator.js, in Node or in a browser, and hands over the bytes: see same_bytes.py.
 *
 *     node benchmarks/same_bytes.js FOLDER > bytes
 *
 * In FOLDER lie weights.bin, encoder.bin and plan.json.
 */

/**
 * The images of a plan, call by call, as bytes.
 *
 * @param {typeof import("../web/generator.js")} module
 * @param {{weights: Uint8Array, encoder: Uint8Array, plan: [name: string, args: any[]][]}} given
 */
async function* drawn({ DigitGenerator, toBytes }, { weights, encoder, plan }) {
  const gen = await DigitGenerator.load(weights);
  await gen.loadEncoder(encoder);
  for (const [name, args] of plan) {
    const image = name === "restyle" ? [gen.generate(...args)] : [];
    const result = name === "restyle" ? gen.restyle(image[0], args[0]) : gen[name](...args);
    yield toBytes(name === "at" ? result.image : result);
  }
}

async function inNode() {
  const { readFile } = await import("node:fs/promises");
  const read = (name) => readFile(`${process.argv[2]}/${name}`);
  const plan = JSON.parse(String(await read("plan.json")));
  const given = { weights: await read("weights.bin"), encoder: await read("encoder.bin"), plan };
  for await (const bytes of drawn(await import("../web/generator.js"), given)) process.stdout.write(bytes);
}

async function inBrowser() {
  const fetched = async (name) => new Uint8Array(await (await fetch(name)).arrayBuffer());
  const plan = await (await fetch("plan.json")).json();
  const given = { weights: await fetched("weights.bin"), encoder: await fetched("encoder.bin"), plan };
  const parts = [];
  for await (const bytes of drawn(await import("/web/generator.js"), given)) parts.push(bytes);
  await fetch("bytes", { method: "POST", body: new Blob(parts) });
}

if (typeof document === "undefined") await inNode();
else await inBrowser().catch((reason) => fetch("failed", { method: "POST", body: String(reason) }));
