// A pair in its plane, the loss along a segment, and its mean: all three follow the ends.

const HEIGHT = 264, TOP = 26, BOTTOM = 224, LEFT = 48, REACH = 1.5;

function render({ model, el }) {
  const host = start(el);
  const boxes = ["plane", "curve", "mean"].map((name) => part(host, `isa-${name}`, "1 1 250px"));
  const formula = part(host, "isa-formula");
  let refresh = [];

  const ends = () => model.get("value");
  const data = () => model.get("data");
  const loss = (t) => data().aa / 2 + t * data().ab + (t * t * data().bb) / 2;
  const exact = ([a, b]) =>
    (data().aa + (a + b) * data().ab + ((a * a + a * b + b * b) / 3) * data().bb) / 2;

  function change(which, value) {
    const now = [...ends()];
    now[which] = which ? Math.max(value, now[0]) : Math.min(value, now[1]);
    model.set("value", now);
    model.save_changes();
    update();
  }

  function drawPlane(svg, width) {
    const { points, kept, pair, images } = data();
    const [here, there] = pair.map((index) => points[index]);
    const at = (t) => [0, 1].map((axis) => here[axis] + t * (here[axis] - there[axis]));
    const seen = [...points, at(-REACH), at(REACH)];
    const [x, y] = [[10, width - 10], [HEIGHT - 30, 84]].map((range, axis) => {
      const all = seen.map((point) => point[axis]);
      return scale(Math.min(...all), Math.max(...all), ...range);
    });
    const place = (point) => [x(point[0]), y(point[1])];
    const dots = points.map((point, index) => mark(svg, "circle", {
      cx: x(point[0]), cy: y(point[1]), r: 2.2, opacity: kept[index] ? 0.65 : 0.8,
      fill: `var(--isa-${kept[index] ? "kept" : "faint"})`,
    }));
    const ring = mark(svg, "circle", { r: 7, fill: "none", stroke: "var(--isa-ink)", "stroke-width": 1.5, visibility: "hidden" });
    const line = mark(svg, "path", { stroke: "var(--isa-pair)", "stroke-width": 2.4, fill: "none" });
    const virtual = Array.from({ length: 9 }, () => mark(svg, "circle", { r: 3, fill: "var(--isa-pair)" }));
    images.forEach(({ source, label, score }, index) => {
      const left = width * (index ? 0.53 : 0.02);
      const [px, py] = place([here, there][index]);
      mark(svg, "line", { x1: left + 32, y1: 68, x2: px, y2: py, stroke: "var(--isa-ink)", "stroke-width": 0.7, opacity: 0.7 });
      mark(svg, "circle", { cx: px, cy: py, r: 5, fill: "var(--isa-pair)", stroke: "var(--isa-ink)" });
      mark(svg, "image", { href: source, x: left, y: 4, width: 64, height: 64, style: "image-rendering: pixelated" });
      mark(svg, "text", { x: left + 70, y: 20, "font-weight": 600 }, index ? "partner" : "sample");
      mark(svg, "text", { x: left + 70, y: 35 }, `class ${label}`);
      mark(svg, "text", { x: left + 70, y: 50 }, `score ${score.toPrecision(3)}`);
    });
    mark(svg, "text", { x: width / 2, y: HEIGHT - 4, "text-anchor": "middle" },
      "features along the pair; click a blue dot");
    const nearest = (event) => {
      const frame = svg.getBoundingClientRect();
      const [px, py] = [event.clientX - frame.left, event.clientY - frame.top];
      let [best, least] = [-1, 18 ** 2];
      dots.forEach((dot, index) => {
        const away = (dot.cx.baseVal.value - px) ** 2 + (dot.cy.baseVal.value - py) ** 2;
        if (kept[index] && away < least) [best, least] = [index, away];
      });
      return best;
    };
    svg.onpointermove = (event) => {
      const index = nearest(event);
      svg.style.cursor = index < 0 ? "" : "pointer";
      ring.setAttribute("visibility", index < 0 ? "hidden" : "visible");
      if (index < 0) return;
      for (const name of ["cx", "cy"]) ring.setAttribute(name, dots[index].getAttribute(name));
    };
    svg.onpointerleave = () => ring.setAttribute("visibility", "hidden");
    svg.onclick = (event) => {
      const index = nearest(event);
      if (index < 0) return;
      model.set("picked", index);
      model.save_changes();
    };
    refresh[0] = () => {
      const [a, b] = ends();
      const spots = virtual.map((_, index) => place(at(a + ((b - a) * index) / 8)));
      line.setAttribute("d", path(spots));
      virtual.forEach((dot, index) => ["cx", "cy"].forEach((name, axis) => dot.setAttribute(name, spots[index][axis])));
    };
    refresh[0]();
  }

  function drawCurve(svg, width) {
    const x = scale(-REACH, REACH, LEFT, width - 16);
    const grid = Array.from({ length: 121 }, (_, index) => -REACH + (2 * REACH * index) / 120);
    const y = scale(0, 1.1 * Math.max(...grid.map(loss)), BOTTOM, TOP);
    const area = mark(svg, "path", { fill: "var(--isa-pair)", opacity: 0.25 });
    mark(svg, "path", { d: path(grid.map((t) => [x(t), y(loss(t))])), fill: "none", stroke: "var(--isa-pair)", "stroke-width": 1.5 });
    const mean = mark(svg, "line", { stroke: "var(--isa-ink)", "stroke-width": 1.4, "stroke-dasharray": "5 3" });
    axisX(svg, x, [LEFT, width - 16], BOTTOM, [-1.5, -1, -0.5, 0, 0.5, 1, 1.5], "t: −1 is the partner, 0 the sample");
    axisY(svg, y, [BOTTOM, TOP], LEFT, ticks(0, y.invert(TOP), 4), "half squared error");
    const handles = ["start a", "end b"].map((name, which) => handle(svg, {
      label: `Segment, ${name}`, side: which ? 1 : -1, min: -REACH, max: REACH, step: 0.05,
      get: () => ends()[which], set: (value) => change(which, value),
      valueAt: x.invert, text: () => `${name} = ${ends()[which]}`,
    }));
    refresh[1] = () => {
      const [a, b] = ends();
      const part = Array.from({ length: 61 }, (_, index) => a + ((b - a) * index) / 60);
      area.setAttribute("d", path([[x(a), BOTTOM], ...part.map((t) => [x(t), y(loss(t))]), [x(b), BOTTOM]]));
      const level = y(exact([a, b]));
      for (const [name, value] of [["x1", x(a)], ["x2", a === b ? x(b) + 3 : x(b)], ["y1", level], ["y2", level]]) mean.setAttribute(name, value);
      handles.forEach((move, which) => move(x(ends()[which]), 3, BOTTOM));
    };
    refresh[1]();
  }

  function drawMean(svg, width) {
    const bytes = model.get("draws");
    const draws = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
    const shown = new Set(Array.from({ length: 80 }, (_, index) => Math.round(2 * (draws.length / 2) ** (index / 79))));
    refresh[2] = () => {
      svg.replaceChildren();
      const [a, b] = ends();
      let [sum, squares] = [0, 0];
      const rows = [];
      draws.forEach((draw, index) => {
        const value = loss(a + (b - a) * draw);
        sum += value;
        squares += value * value;
        const n = index + 1;
        if (!shown.has(n)) return;
        const mean = sum / n;
        rows.push([n, mean, Math.sqrt(Math.max(0, squares / n - mean * mean) / (n - 1))]);
      });
      const level = exact([a, b]);
      const reach = Math.max(...rows.map(([, mean, error]) => Math.abs(mean - level) + error), 1e-6 * (1 + level));
      const x = scale(Math.log10(2), Math.log10(draws.length), LEFT, width - 24);
      const y = scale(level - 1.1 * reach, level + 1.1 * reach, BOTTOM, TOP);
      const place = rows.map(([n, mean, error]) => [x(Math.log10(n)), y(mean), y(mean + error), y(mean - error)]);
      mark(svg, "path", {
        d: path([...place.map((one) => [one[0], one[2]]), ...place.map((one) => [one[0], one[3]]).reverse()]),
        fill: "var(--isa-pair)", opacity: 0.25,
      });
      mark(svg, "path", { d: path(place.map((one) => one.slice(0, 2))), fill: "none", stroke: "var(--isa-pair)", "stroke-width": 1.5 });
      mark(svg, "line", { x1: LEFT, x2: width - 24, y1: y(level), y2: y(level), stroke: "var(--isa-ink)", "stroke-width": 1.4, "stroke-dasharray": "5 3" });
      axisX(svg, x, [LEFT, width - 24], BOTTOM, [1, 2, 3, 4], "number of sampled t", (one) => (10 ** one).toLocaleString("en"));
      axisY(svg, y, [BOTTOM, TOP], LEFT, ticks(y.invert(BOTTOM), y.invert(TOP), 4), "mean of the samples");
    };
    refresh[2]();
  }

  function update() {
    for (const one of refresh) one?.();
    const [a, b] = ends();
    const number = (value, digits = 3) => {
      const text = `<mn>${Math.abs(value).toFixed(digits)}</mn>`;
      return value < 0 ? `<mo>(</mo><mo>−</mo>${text}<mo>)</mo>` : text;
    };
    const sum = "<munder><mo>∑</mo><mi>c</mi></munder>";
    const squared = (name) => `<msubsup><mi>${name}</mi><mi>c</mi><mn>2</mn></msubsup>`;
    const product = "<msub><mi>A</mi><mi>c</mi></msub><msub><mi>B</mi><mi>c</mi></msub>";
    formula.innerHTML = `<math display="inline"><mrow>
      <mfrac><mn>1</mn><mn>2</mn></mfrac>${sum}<mo>(</mo>${squared("A")}
      <mo>+</mo><mo>(</mo><mi>a</mi><mo>+</mo><mi>b</mi><mo>)</mo>${product}
      <mo>+</mo><mfrac><mrow><msup><mi>a</mi><mn>2</mn></msup><mo>+</mo><mi>a</mi><mi>b</mi><mo>+</mo>
      <msup><mi>b</mi><mn>2</mn></msup></mrow><mn>3</mn></mfrac>${squared("B")}<mo>)</mo></mrow></math>
      <math display="inline"><mrow><mo>=</mo><mfrac><mn>1</mn><mn>2</mn></mfrac><mo>(</mo>${number(data().aa)}
      <mo>+</mo>${number(a + b, 2)}<mo>·</mo>${number(data().ab)}
      <mo>+</mo>${number((a * a + a * b + b * b) / 3)}<mo>·</mo>${number(data().bb)}<mo>)</mo>
      <mo>=</mo>${number(exact([a, b]), 4)}</mrow></math>`;
  }

  const charts = [
    chart(boxes[0], "The pair among the real images", HEIGHT, drawPlane),
    chart(boxes[1], "Loss along the segment, with its two ends", HEIGHT, drawCurve),
    chart(boxes[2], "Mean over sampled points", HEIGHT, drawMean),
  ];
  return keepCurrent(model, charts, update);
}

export default { render };
