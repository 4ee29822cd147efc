// Training curves: a chart for each kind of loss and one of accuracies, under one legend.

const HEIGHT = 240, TOP = 22, BOTTOM = 200, LEFT = 52;

// 1, 2 and 5 of each power of ten, or the powers alone over more than two decades.
function logTicks(low, high) {
  const made = [];
  for (let power = Math.floor(low); power <= high; power++) {
    for (const one of high - low > 2 ? [1] : [1, 2, 5]) made.push(power + Math.log10(one));
  }
  const inside = made.filter((one) => one >= low && one <= high);
  return inside.length > 1 ? inside : ticks(10 ** low, 10 ** high, 3).filter((one) => one > 0).map(Math.log10);
}

function drawCurves(svg, width, letter, { title, label, log, lines }) {
  const height = log ? Math.log10 : Number;
  const points = lines.flatMap((line) => line.points);
  const heights = points.map((point) => height(point[1]));
  const range = (values, start) => values.reduce(([low, high], one) => [Math.min(low, one), Math.max(high, one)], start);
  const end = width - 14;
  const last = range(points.map((point) => point[0]), [0, 1])[1];
  const [low, high] = heights.length ? range(heights, [heights[0], heights[0]]) : [0, 1];
  const room = 0.05 * (high - low) || 0.5;
  const x = scale(0, last, LEFT, end);
  const y = scale(low - room, high + room, BOTTOM, TOP);
  mark(svg, "text", { x: 4, y: 12, "font-weight": 600 }, letter);
  mark(svg, "text", { x: LEFT, y: 12 }, title);
  for (const { name, colour, look, points } of lines) {
    const places = points.map(([step, value]) => [x(step), y(height(value))]);
    const line = mark(svg, "path", {
      d: path(places), fill: "none", stroke: colour, "stroke-width": 1.2 * look.lw,
      opacity: look.alpha ?? 1, "stroke-dasharray": look.ls ? "5 3" : "none",
    });
    mark(line, "title", {}, name);
    if (!look.marker) continue;
    points.forEach(([step, value], at) => {
      const [cx, cy] = places[at];
      const text = `${name}, step ${step.toLocaleString("en")}: ${value.toPrecision(3)}`;
      mark(mark(svg, "circle", { cx, cy, r: 0.7 * look.ms, fill: colour }), "title", {}, text);
    });
  }
  const shown = ticks(0, last, Math.max(2, width / 110));
  axisX(svg, x, [LEFT, end], BOTTOM, shown, "outer step", (one) => one.toLocaleString("en"));
  const marks = log ? logTicks(y.invert(BOTTOM), y.invert(TOP)) : ticks(y.invert(BOTTOM), y.invert(TOP), 4);
  axisY(svg, y, [BOTTOM, TOP], LEFT, marks, label, log ? (one) => String(+(10 ** one).toPrecision(3)) : String);
}

function render({ model, el }) {
  const host = start(el, "isa-figure");
  let charts = [];
  const stop = () => charts.forEach((one) => one.stop());
  function build() {
    const { panels = [], legend = [] } = model.get("data");
    stop();
    host.replaceChildren();
    drawLegend(part(host, "isa-legend", "1 1 100%"), legend);
    charts = panels.map((panel, at) => {
      const letter = String.fromCharCode(97 + at);
      const draw = (svg, width) => drawCurves(svg, width, letter, panel);
      return chart(part(host, "", "1 1 280px"), `${panel.label} ${panel.title}`, HEIGHT, draw);
    });
  }
  build();
  const forget = follow(model, ["data"], build);
  return () => [forget, stop].forEach((undo) => undo());
}

export default { render };
