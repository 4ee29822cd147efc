// What the charts of the panels share: SVG elements, axes, and handles on an axis.

const STYLE = `
.isa-charts { display: flex; flex-wrap: wrap; gap: 6px 18px; align-items: flex-start; width: 100%; }
.isa-charts > div { min-width: 0; }
.isa-charts.isa-figure { --isa-ink: #222; }
.isa-charts svg { display: block; overflow: visible; touch-action: pan-y; user-select: none; }
.isa-charts svg text { fill: var(--isa-ink); font-size: 11px; font-family: var(--jp-ui-font-family, sans-serif); }
.isa-charts svg .isa-axis { stroke: var(--isa-ink); stroke-width: 0.8; }
.isa-legend { color: var(--isa-ink); font-size: 12px; line-height: 1.7; font-variant-numeric: tabular-nums; }
.isa-legend span { margin-right: 14px; white-space: nowrap; }
.isa-legend i { display: inline-block; width: 10px; height: 10px; margin-right: 5px; }
.isa-handle { cursor: ew-resize; outline: none; touch-action: none; }
.isa-handle rect { fill: transparent; }
.isa-handle line { stroke: var(--isa-ink); stroke-width: 1.4; }
.isa-handle path { fill: var(--isa-ink); stroke: var(--jp-layout-color0, #fff); stroke-width: 1; }
.isa-handle:focus-visible path, .isa-handle:hover path { fill: var(--jp-brand-color1, #1976d2); }
.isa-handle:focus-visible path { stroke: var(--jp-brand-color1, #1976d2); stroke-width: 3; }
.isa-formula { color: var(--isa-ink); font-size: 17px; line-height: 2.2; overflow-x: auto; flex: 1 1 100%; }
`;

function start(el, className = "") {
  const style = document.createElement("style");
  style.textContent = STYLE;
  const host = document.createElement("div");
  host.className = `isa-charts ${className}`;
  el.append(style, host);
  return host;
}

function part(parent, className, flex = "") {
  const made = document.createElement("div");
  made.className = className;
  made.style.flex = flex;
  parent.append(made);
  return made;
}

function mark(parent, name, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== "") made.textContent = text;
  parent.append(made);
  return made;
}

// A chart as wide as its box: `draw(svg, width)` fills it again when the box changes. The
// handle that has the focus keeps it.
function chart(parent, label, height, draw) {
  const svg = mark(parent, "svg", { role: "group", "aria-label": label, height });
  let width = 0;
  const redraw = () => {
    if (!width) return;
    const focused = svg.contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
    svg.replaceChildren();
    draw(svg, width);
    if (focused) svg.querySelector(`[aria-label="${focused}"]`)?.focus({ preventScroll: true });
  };
  const observer = new ResizeObserver(() => {
    const now = parent.clientWidth;
    if (now && now !== width) svg.setAttribute("width", (width = now)), redraw();
  });
  observer.observe(parent);
  return { redraw, stop: () => observer.disconnect() };
}

function scale(from, to, low, high) {
  const slope = (high - low) / (to - from || 1);
  const at = (value) => low + (value - from) * slope;
  at.invert = (position) => from + (position - low) / slope;
  return at;
}

function ticks(from, to, count) {
  const rough = (to - from) / count || 1;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = size * [1, 2, 5, 10].find((one) => one * size >= rough);
  const made = [];
  for (let at = Math.ceil(from / step) * step; at <= to + 1e-9; at += step) made.push(+at.toPrecision(9));
  return made;
}

function axisX(group, at, [low, high], y, marks, label, name = String) {
  mark(group, "line", { class: "isa-axis", x1: low, x2: high, y1: y, y2: y });
  for (const one of marks) {
    mark(group, "line", { class: "isa-axis", x1: at(one), x2: at(one), y1: y, y2: y + 4 });
    mark(group, "text", { x: at(one), y: y + 16, "text-anchor": "middle" }, name(one));
  }
  mark(group, "text", { x: (low + high) / 2, y: y + 33, "text-anchor": "middle" }, label);
}

function axisY(group, at, [low, high], x, marks, label, name = String) {
  mark(group, "line", { class: "isa-axis", x1: x, x2: x, y1: low, y2: high });
  for (const one of marks) {
    mark(group, "line", { class: "isa-axis", x1: x - 4, x2: x, y1: at(one), y2: at(one) });
    mark(group, "text", { x: x - 6, y: at(one) + 4, "text-anchor": "end" }, name(one));
  }
  const middle = (low + high) / 2;
  mark(group, "text", { transform: `translate(${x - 36} ${middle}) rotate(-90)`, "text-anchor": "middle" }, label);
}

// Replace what a legend shows by pairs of a text and its colour.
function drawLegend(box, pairs) {
  box.replaceChildren(...pairs.map(([text, colour]) => {
    const line = document.createElement("span");
    const square = document.createElement("i");
    square.style.background = colour;
    line.append(square, text);
    return line;
  }));
}

const path = (points) => `M${points.map((point) => point.map((one) => one.toFixed(1)).join(",")).join("L")}`;

// A handle that a pointer drags and arrow keys move. `side` is -1 for a grip on the left of
// its line and 1 for one on the right, so that two handles at one place are still two.
// `set` is given a value, `valueAt` makes one of a position; `text` is read to the blind.
function handle(svg, { label, side, min, max, step, get, set, valueAt, text }) {
  const group = mark(svg, "g", {
    class: "isa-handle", role: "slider", tabindex: 0, "aria-label": label,
    "aria-valuemin": min, "aria-valuemax": max,
  });
  const hit = mark(group, "rect", { x: side < 0 ? -20 : -3, width: 23 });
  const line = mark(group, "line", { x1: 0, x2: 0 });
  const grip = mark(group, "path");
  const snapped = (value) => Math.min(max, Math.max(min, Math.round(value / step) * step));
  const move = (value) => set(+snapped(value).toFixed(6));
  group.addEventListener("pointerdown", (event) => {
    group.setPointerCapture(event.pointerId);
    group.focus({ preventScroll: true });
    event.preventDefault();
  });
  group.addEventListener("pointermove", (event) => {
    if (!group.hasPointerCapture(event.pointerId)) return;
    move(valueAt(event.clientX - svg.getBoundingClientRect().left));
  });
  const STEPS = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 };
  // An axis may run from large to small: the arrows follow the picture.
  const sense = () => (valueAt(100) < valueAt(0) ? -1 : 1);
  group.addEventListener("keydown", (event) => {
    let to = null;
    if (event.key in STEPS) to = get() + sense() * STEPS[event.key] * step;
    if (event.key === "Home") to = min;
    if (event.key === "End") to = max;
    if (to === null) return;
    event.preventDefault();
    event.stopPropagation(); // the notebook would go to another cell
    move(to);
  });
  return (x, top, bottom) => {
    group.setAttribute("transform", `translate(${x} 0)`);
    for (const [name, value] of [["y", top], ["height", bottom - top]]) hit.setAttribute(name, value);
    line.setAttribute("y1", top);
    line.setAttribute("y2", bottom);
    grip.setAttribute("d", `M0,${top}h${side * 13}v12l${-side * 13},9z`);
    group.setAttribute("aria-valuenow", get());
    group.setAttribute("aria-valuetext", text());
  };
}

// Make a widget's `render` of a function that returns what undoes it; `names` are the traits
// whose change from the kernel calls `update`.
function follow(model, names, update) {
  for (const name of names) model.on(`change:${name}`, update);
  return () => names.forEach((name) => model.off(`change:${name}`, update));
}

// Update charts when the model changes, and draw them anew when their data do; return a
// function that ends this.
function keepCurrent(model, charts, update) {
  update();
  const forget = [
    follow(model, ["value"], update),
    follow(model, ["data"], () => { charts.forEach((one) => one.redraw()); update(); }),
  ];
  return () => [...forget, ...charts.map((one) => one.stop)].forEach((undo) => undo());
}
