/**
 * Keeps the page's files, so that it opens without a network after the first visit. `kept.js` names them and their
 * version.
 */

const worker = /** @type {any} */ (self);
worker.importScripts("kept.js");

/**
 * Files that the page needs, and those that are kept once they are fetched.
 * @type {{version: string, files: string[], later: string[]}}
 */
const KEPT = worker.KEPT;
/** A host may have several such pages, each in a folder of its own. */
const NAME = `mnist-digits ${new URL("./", self.location.href).pathname} `;
const CACHE = `${NAME}${KEPT.version}`;

/** Fetch all files anew, whatever the browser keeps of an earlier version. */
async function install() {
  const cache = await caches.open(CACHE);
  await cache.addAll(KEPT.files.map((file) => new Request(file, { cache: "reload" })));
  await worker.skipWaiting();
}

/** Remove what earlier versions of this page kept. */
async function activate() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith(NAME) && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
  await worker.clients.claim();
}

/** @param {Request} request */
async function answer(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request, { ignoreSearch: request.mode === "navigate" });
  if (kept) return kept;
  const response = await fetch(request);
  const isLater = KEPT.later.some((file) => new URL(file, self.location.href).href === request.url);
  if (isLater && response.status === 200) await cache.put(request, response.clone());
  return response;
}

worker.addEventListener("install", (/** @type {any} */ event) => event.waitUntil(install()));
worker.addEventListener("activate", (/** @type {any} */ event) => event.waitUntil(activate()));
worker.addEventListener("fetch", (/** @type {any} */ event) => {
  const { request } = event;
  const isOwn = new URL(request.url).origin === self.location.origin;
  if (request.method === "GET" && isOwn && request.cache !== "reload") event.respondWith(answer(request));
});
