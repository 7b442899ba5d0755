"use strict";
(() => {
const byId = (id) => document.getElementById(id);
const stage = byId("stage"), edge = byId("edge"), left = byId("left"), right = byId("right");
const width = Number(byId("viewer").dataset.width), height = Number(byId("viewer").dataset.height);
const ZOOMS = [0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32]; // pixels of the screen for a pixel of the picture
const buttons = [...byId("strip").children];
const figures = new Map(); // by frame and version
for (const figure of document.querySelectorAll("#gallery figure")) {
  figures.set(`${figure.dataset.frame} ${figure.dataset.version}`, { text: figure.dataset.text, image: figure.querySelector("img") });
}

const view = { frame: 0, edge: 0.5, zoom: 0, x: width / 2, y: height / 2 }; // zoom 0 fits; x and y are in the middle of the stage
let placed = { left: 0, width: 1, scale: 1 }; // the part of the stage that the picture covers

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const show = (scale) => (scale >= 1 ? `${Math.round(scale * 100) / 100}:1` : `1:${Math.round(100 / scale) / 100}`);

function figure(version) {
  return figures.get(`${buttons[view.frame].dataset.number} ${version}`);
}

/* Puts the pictures where zoom and place say, and the edge over them. */
function place() {
  const box = stage.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
  const fit = Math.min(box.width / width, box.height / height);
  const scale = view.zoom ? view.zoom / ratio : fit;
  const start = (inside, side, middle) => (side * scale <= inside ? (inside - side * scale) / 2
    : clamp(inside / 2 - middle * scale, inside - side * scale, 0));
  let x = start(box.width, width, view.x), y = start(box.height, height, view.y);
  if (view.zoom) { // onto whole pixels of the screen
    x = Math.round((box.left + x) * ratio) / ratio - box.left;
    y = Math.round((box.top + y) * ratio) / ratio - box.top;
  }
  view.x = (box.width / 2 - x) / scale;
  view.y = (box.height / 2 - y) / scale;
  for (const image of stage.querySelectorAll(".pane img")) image.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
  const from = Math.max(x, 0), to = Math.min(x + width * scale, box.width);
  placed = { left: from, width: to - from, scale };
  const at = from + (to - from) * view.edge;
  byId("right-pane").style.clipPath = `inset(0 0 0 ${at}px)`;
  edge.style.left = `${at}px`;
  const percent = Math.round(view.edge * 100);
  edge.setAttribute("aria-valuenow", percent);
  edge.setAttribute("aria-valuetext", `${percent} % ${name(left)}, ${100 - percent} % ${name(right)}`);
  stage.classList.toggle("pixels", scale * ratio >= 1 && Boolean(view.zoom));
  stage.classList.toggle("movable", width * scale > box.width + 1 || height * scale > box.height + 1);
  byId("zoom").textContent = view.zoom ? show(view.zoom) : "fit";
}

const name = (select) => select.selectedOptions[0].textContent;

/* Shows a frame: both pictures at once, when both are decoded. */
let wanted = 0;
async function showFrame(index) {
  view.frame = clamp(index, 0, buttons.length - 1);
  const number = ++wanted, sides = [figure(left.value), figure(right.value)];
  await Promise.all(sides.map((side) => side.image.decode().catch(() => {})));
  if (number !== wanted) return; // another one has been asked for meanwhile
  byId("left-pane").replaceChildren(sides[0].image);
  byId("right-pane").replaceChildren(sides[1].image);
  byId("left-label").textContent = [name(left), sides[0].text].filter(Boolean).join("\n");
  byId("right-label").textContent = [name(right), sides[1].text].filter(Boolean).join("\n");
  const button = buttons[view.frame];
  for (const other of buttons) other.toggleAttribute("aria-current", other === button);
  for (const line of document.querySelectorAll(".plot .shown")) {
    line.classList.toggle("current", line.dataset.number === button.dataset.number);
  }
  byId("frame").textContent = button.title;
  byId("previous").disabled = view.frame === 0;
  byId("next").disabled = view.frame === buttons.length - 1;
  const strip = byId("strip");
  strip.scrollLeft = button.offsetLeft - strip.offsetLeft - (strip.clientWidth - button.clientWidth) / 2;
  place();
}

function moveEdge(to) {
  view.edge = clamp(to, 0, 1);
  place();
}

/* Zooms by a step up or down, or to a given zoom; what lies under the given point of the stage stays there. */
function zoomTo(zoom, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const before = placed.scale, dx = x - stage.clientWidth / 2, dy = y - stage.clientHeight / 2;
  const scale = zoom / (window.devicePixelRatio || 1);
  if (zoom) {
    view.x += dx / before - dx / scale;
    view.y += dy / before - dy / scale;
  }
  view.zoom = zoom;
  place();
}

function zoomBy(direction, x, y) {
  const now = placed.scale * (window.devicePixelRatio || 1);
  const fit = Math.min(stage.clientWidth / width, stage.clientHeight / height) * (window.devicePixelRatio || 1);
  if (direction > 0) zoomTo(ZOOMS.find((zoom) => zoom > now * 1.01) || ZOOMS.at(-1), x, y);
  else {
    const lower = ZOOMS.findLast((zoom) => zoom < now * 0.99);
    zoomTo(lower && lower > fit ? lower : 0, x, y);
  }
}

function pan(dx, dy) {
  view.x += dx / placed.scale;
  view.y += dy / placed.scale;
  place();
}

/* Two versions that are the same would need one picture twice: the other side takes what this side had. */
function choose(select, other) {
  if (select.value === other.value) other.value = select.dataset.before;
  for (const one of [left, right]) one.dataset.before = one.value;
  showFrame(view.frame);
}

function swap() {
  [left.value, right.value] = [right.value, left.value];
  for (const one of [left, right]) one.dataset.before = one.value;
  showFrame(view.frame);
}

function toggleDifference() {
  const on = stage.classList.toggle("difference");
  byId("difference").setAttribute("aria-pressed", on);
}

/* Mouse, pen and fingers. */
const pointers = new Map();
let dragging = null, apart = 0;
stage.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  pointers.set(event.pointerId, event);
  stage.setPointerCapture(event.pointerId);
  const onEdge = edge.contains(event.target) || !stage.classList.contains("movable");
  dragging = onEdge ? "edge" : "picture";
  if (pointers.size === 2) {
    dragging = "pinch";
    apart = distance();
  }
  if (dragging === "edge") edgeToPointer(event);
  stage.classList.toggle("moving", dragging === "picture");
  edge.focus({ preventScroll: true, focusVisible: false });
  event.preventDefault();
});
stage.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  pointers.set(event.pointerId, event);
  if (dragging === "edge") edgeToPointer(event);
  if (dragging === "picture") pan(before.clientX - event.clientX, before.clientY - event.clientY);
  if (dragging === "pinch") pinch();
});
for (const end of ["pointerup", "pointercancel"]) {
  stage.addEventListener(end, (event) => {
    pointers.delete(event.pointerId);
    if (!pointers.size) dragging = null;
    stage.classList.remove("moving");
  });
}

function edgeToPointer(event) {
  moveEdge((event.clientX - stage.getBoundingClientRect().left - placed.left) / placed.width);
}

function distance() {
  const [a, b] = [...pointers.values()];
  return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
}

function pinch() {
  const now = distance();
  if (now > apart * 1.25 || now < apart * 0.8) {
    const [a, b] = [...pointers.values()], box = stage.getBoundingClientRect();
    zoomBy(now - apart, (a.clientX + b.clientX) / 2 - box.left, (a.clientY + b.clientY) / 2 - box.top);
    apart = now;
  }
}

let turned = 0;
stage.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  turned += event.deltaY;
  if (Math.abs(turned) < 20) return;
  const box = stage.getBoundingClientRect();
  zoomBy(-turned, event.clientX - box.left, event.clientY - box.top);
  turned = 0;
}, { passive: false });

/* Keys. */
const step = 60; // pixels of the screen that Shift and an arrow move the picture by
const KEYS = {
  ArrowLeft: () => moveEdge(view.edge - 0.02),
  ArrowRight: () => moveEdge(view.edge + 0.02),
  ArrowUp: () => showFrame(view.frame - 1),
  ArrowDown: () => showFrame(view.frame + 1),
  "Shift+ArrowLeft": () => pan(-step, 0),
  "Shift+ArrowRight": () => pan(step, 0),
  "Shift+ArrowUp": () => pan(0, -step),
  "Shift+ArrowDown": () => pan(0, step),
  "+": () => zoomBy(1),
  "=": () => zoomBy(1),
  "-": () => zoomBy(-1),
  0: () => zoomTo(0),
  1: () => zoomTo(1),
  s: swap,
  d: toggleDifference,
};
const ON_EDGE = { Home: () => moveEdge(0), End: () => moveEdge(1), PageUp: () => moveEdge(view.edge + 0.1), PageDown: () => moveEdge(view.edge - 0.1) };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("select")) return;
  const arrow = event.shiftKey && event.key.startsWith("Arrow") ? `Shift+${event.key}` : event.key;
  const key = arrow.length === 1 ? arrow.toLowerCase() : arrow;
  const action = KEYS[key] || (event.target === edge && ON_EDGE[key]);
  if (!action) return;
  event.preventDefault();
  action();
});

left.addEventListener("change", () => choose(left, right));
right.addEventListener("change", () => choose(right, left));
byId("swap").addEventListener("click", swap);
byId("zoom-in").addEventListener("click", () => zoomBy(1));
byId("zoom-out").addEventListener("click", () => zoomBy(-1));
byId("zoom-fit").addEventListener("click", () => zoomTo(0));
byId("zoom-one").addEventListener("click", () => zoomTo(1));
byId("difference").addEventListener("click", toggleDifference);
byId("previous").addEventListener("click", () => showFrame(view.frame - 1));
byId("next").addEventListener("click", () => showFrame(view.frame + 1));
buttons.forEach((button, index) => button.addEventListener("click", () => showFrame(index)));
for (const plot of document.querySelectorAll(".plot")) {
  plot.addEventListener("click", (event) => {
    const away = (line) => Math.abs(line.getBoundingClientRect().left - event.clientX);
    const line = [...plot.querySelectorAll(".shown")].reduce((a, b) => (away(b) < away(a) ? b : a));
    showFrame(buttons.findIndex((button) => button.dataset.number === line.dataset.number));
  });
}
new ResizeObserver(place).observe(stage);

document.documentElement.classList.add("js");
left.selectedIndex = 0;
right.selectedIndex = 1;
for (const one of [left, right]) one.dataset.before = one.value;
showFrame(0);
})();
