/** As much of a page as the pad and the map touch: Node has none. */

/** A canvas' context that writes down what it is told to draw. */
export function fakePen() {
  const drawn = [];
  const note = (name) => (...args) => drawn.push([name, ...args]);
  return new Proxy({ drawn }, {
    get: (pen, name) => (name in pen ? pen[name] : note(name)),
  });
}

/** An element with the attributes and children that are asked of it. */
export function fakeElement(children = {}) {
  const attributes = {};
  const pen = fakePen();
  return {
    attributes,
    pen,
    children,
    disabled: false,
    hidden: false,
    textContent: "",
    setAttribute: (name, value) => { attributes[name] = value; },
    querySelector: (selector) => children[selector],
    querySelectorAll: (selector) => children[selector],
    getContext: () => pen,
    getBoundingClientRect: () => ({ x: 10, y: 20, width: 140, height: 140 }),
    setPointerCapture: () => {},
    toDataURL: () => "data:image/png;base64,AAAA",
  };
}

/** A pointer at a place of the element above, in pixels of the screen. */
export function pointer(x, y, more = {}) {
  return { pointerId: 1, button: 0, clientX: x + 10, clientY: y + 20, ...more };
}
