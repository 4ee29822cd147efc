// Scores with two cuts: which are dropped is redrawn here, at once, while a handle moves.

const PARTS = ["easy", "kept", "hard"];
const TEXT = { easy: "easy, dropped", kept: "kept", hard: "hard, dropped" };
const TOP = 24, HEIGHT = 236, BOTTOM = 196, LEFT = 50, ROW = 17;
let drawings = 0;

function render({ model, el }) {
  const host = start(el);
  const legend = part(host, "isa-legend", "1 1 100%");
  const left = part(host, "isa-cuts", "3 1 360px");
  const right = part(host, "isa-classes", "2 1 240px");
  const key = `isa-cut-${drawings++}`;
  let handles = null;
  let place = () => {};
  let showClasses = () => {};

  const value = () => ({ easy: model.get("value")[0], hard: model.get("value")[1] });
  const percent = (fraction) => `${+(100 * fraction).toFixed(1)} %`;
  // As the losses count: n - floor((1 - p) n), at most all but one.
  const dropped = (fraction, count) => Math.min(Math.ceil(fraction * count * (1 - 1e-9)), count - 1);
  // `steps` holds a number for each whole percent.
  const between = (steps, fraction) => {
    const at = Math.min(100 * fraction, steps.length - 1);
    const low = Math.floor(at + 1e-9);
    const high = Math.min(low + 1, steps.length - 1);
    return steps[low] + (at - low) * (steps[high] - steps[low]);
  };

  function change(end, fraction) {
    const now = value();
    const other = end === "easy" ? now.hard : now.easy;
    now[end] = Math.max(0, Math.min(fraction, +(0.99 - other).toFixed(2)));
    model.set("value", [now.easy, now.hard]);
    model.save_changes();
    update();
  }

  function nearest(steps, position) {
    let best = 0;
    for (let at = 1; at < steps.length; at++) {
      if (Math.abs(steps[at] - position) < Math.abs(steps[best] - position)) best = at;
    }
    return best / 100;
  }

  function draw(svg, width) {
    const { counts, edges, cuts, unit } = model.get("data");
    const end = width - 14;
    const x = scale(edges[0], edges.at(-1), LEFT, end);
    const most = Math.max(...counts, 1);
    const y = scale(0, 1.04 * most, BOTTOM, TOP);
    const steps = counts.flatMap((count, at) => [[x(edges[at]), y(count)], [x(edges[at + 1]), y(count)]]);
    const outline = path([[LEFT, BOTTOM], ...steps, [end, BOTTOM]]);
    const clips = {};
    for (const name of PARTS) {
      const clip = mark(svg, "clipPath", { id: `${key}-${name}` });
      clips[name] = mark(clip, "rect", { y: 0, height: HEIGHT });
      mark(svg, "path", { d: outline, fill: `var(--isa-${name})`, "clip-path": `url(#${key}-${name})` });
    }
    const shown = [];
    for (let power = Math.floor(edges[0]); power <= edges.at(-1); power++) {
      shown.push(power, power + Math.log10(3));
    }
    const inside = shown.filter((one) => one >= edges[0] && one <= edges.at(-1));
    const sparse = inside.length > 9 ? inside.filter(Number.isInteger) : inside;
    axisX(svg, x, [LEFT, end], BOTTOM, sparse, unit, (one) => String(+(10 ** one).toPrecision(1)));
    axisY(svg, y, [BOTTOM, TOP], LEFT, ticks(0, most, 4), "real images");
    const made = {};
    for (const [name, side] of [["easy", -1], ["hard", 1]]) {
      made[name] = handle(svg, {
        label: `Drop ${name}, fraction`, side, min: 0, max: 0.9, step: 0.01,
        get: () => value()[name],
        set: (fraction) => change(name, fraction),
        valueAt: (position) => nearest(cuts[name], x.invert(position)),
        text: () => percent(value()[name]),
      });
    }
    handles = made;
    place = () => {
      const at = {};
      for (const name of ["easy", "hard"]) {
        at[name] = x(between(cuts[name], value()[name]));
        handles[name](at[name], 2, BOTTOM);
      }
      at.hard = Math.max(at.easy, at.hard);
      const ends = { easy: [0, at.easy], kept: [at.easy, at.hard], hard: [at.hard, width + 20] };
      for (const name of PARTS) {
        clips[name].setAttribute("x", ends[name][0]);
        clips[name].setAttribute("width", Math.max(0, ends[name][1] - ends[name][0]));
      }
    };
    place();
  }

  // A bar of each class: which part of it is easy, kept, hard; lines where all would be cut alike.
  function drawClasses(svg, width) {
    const { classes, more } = model.get("data");
    svg.setAttribute("height", TOP + ROW * classes.length + 20);
    const names = Math.min(110, 12 + 6.5 * Math.max(...classes.map((one) => one.name.length)));
    const x = scale(0, 1, names, width - 4);
    const bottom = TOP + ROW * classes.length;
    mark(svg, "text", { x: names, y: TOP - 9 }, `fraction of each class${more ? ` (${more} more)` : ""}`);
    const rows = classes.map((one, index) => {
      const y = TOP + ROW * index;
      mark(svg, "text", { x: names - 6, y: y + 12, "text-anchor": "end" }, one.name.slice(0, 16));
      const bars = PARTS.map((name) => mark(svg, "rect", { y: y + 1, height: ROW - 3, fill: `var(--isa-${name})` }));
      return bars.map((bar) => [bar, mark(bar, "title")]);
    });
    const lines = ["easy", "hard"].map(() => mark(svg, "line", {
      y1: TOP - 3, y2: bottom + 2, stroke: "var(--isa-ink)", "stroke-dasharray": "3 2",
    }));
    for (const one of [0, 0.5, 1]) {
      mark(svg, "text", { x: x(one), y: bottom + 15, "text-anchor": one === 1 ? "end" : "middle" }, percent(one));
    }
    showClasses = () => {
      const now = value();
      rows.forEach((bars, index) => {
        const { name, size, easy, hard } = classes[index];
        const low = between(easy, now.easy) / size;
        const high = Math.max(low, 1 - between(hard, now.hard) / size);
        [[0, low], [low, high], [high, 1]].forEach(([from, to], at) => {
          const [bar, title] = bars[at];
          bar.setAttribute("x", x(from));
          bar.setAttribute("width", x(to) - x(from));
          title.textContent = `class ${name}: ${percent(to - from)} ${TEXT[PARTS[at]]}`;
        });
      });
      [now.easy, 1 - now.hard].forEach((fraction, at) => {
        for (const end of ["x1", "x2"]) lines[at].setAttribute(end, x(fraction));
        lines[at].style.display = now[["easy", "hard"][at]] ? "" : "none";
      });
    };
    showClasses();
  }

  function update() {
    const { total } = model.get("data");
    const now = value();
    const counts = { easy: dropped(now.easy, total), hard: dropped(now.hard, total) };
    counts.kept = Math.max(0, total - counts.easy - counts.hard);
    drawLegend(legend, PARTS.map((name) => {
      const fraction = name in now ? ` (${percent(now[name])})` : "";
      return [`${TEXT[name]}: ${counts[name].toLocaleString("en")}${fraction}`, `var(--isa-${name})`];
    }));
    place();
    showClasses();
  }

  const charts = [
    chart(left, "Histogram of the scores, with the two cuts", HEIGHT, draw),
    chart(right, "Classes of what is dropped", HEIGHT, drawClasses),
  ];
  return keepCurrent(model, charts, update);
}

export default { render };
