// An image with spots: pointing, focus and the arrow keys set `selected`.

const CSS = `
.isa-spots { position: relative; line-height: 0; }
.isa-spots img { display: block; height: auto; width: 100%; }
.isa-spot {
  background: none; border: 2px solid transparent; box-sizing: border-box; cursor: pointer;
  height: 22px; margin: -11px 0 0 -11px; padding: 0; position: absolute; width: 22px;
  border-radius: 50% !important; /* JupyterLab gives all buttons square corners */
}
.isa-spot[aria-pressed="true"] { border-color: #000; }
.isa-spot:focus-visible { outline: 2px solid #1976d2; outline-offset: 1px; }
`;

function render({ model, el }) {
  const style = document.createElement("style");
  style.textContent = CSS;
  const frame = document.createElement("div");
  frame.className = "isa-spots";
  frame.setAttribute("role", "group");
  const image = document.createElement("img");
  frame.append(image);
  el.append(style, frame);

  let address = null;
  let marks = [];

  function showImage() {
    const before = address;
    address = URL.createObjectURL(new Blob([model.get("value")], { type: "image/png" }));
    image.src = address;
    image.alt = model.get("alt");
    frame.setAttribute("aria-label", model.get("alt"));
    if (before) URL.revokeObjectURL(before);
  }

  function select(index) {
    if (index === model.get("selected")) return;
    model.set("selected", index);
    model.save_changes();
  }

  function showSelected() {
    const at = model.get("selected");
    const stop = at >= 0 ? at : 0; // the one that Tab comes to
    marks.forEach((mark, index) => {
      mark.setAttribute("aria-pressed", String(index === at));
      mark.tabIndex = index === stop ? 0 : -1;
    });
  }

  // Buttons are kept while their number stays, so that focus stays where it is.
  function showSpots() {
    const spots = model.get("spots");
    while (marks.length > spots.length) marks.pop().remove();
    while (marks.length < spots.length) marks.push(newMark(marks.length));
    marks.forEach((mark, index) => {
      const { x, y, name } = spots[index];
      mark.style.left = `${100 * x}%`;
      mark.style.top = `${100 * y}%`;
      mark.title = name;
      mark.setAttribute("aria-label", name);
    });
    showSelected();
  }

  function newMark(index) {
    const mark = document.createElement("button");
    mark.type = "button";
    mark.className = "isa-spot";
    for (const what of ["mouseenter", "focus", "click"]) {
      mark.addEventListener(what, () => select(index));
    }
    frame.append(mark);
    return mark;
  }

  const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  frame.addEventListener("keydown", (event) => {
    const here = marks.indexOf(event.target);
    let to = here + (STEPS[event.key] ?? 0);
    if (event.key === "Home") to = 0;
    if (event.key === "End") to = marks.length - 1;
    if (here < 0 || to === here) return;
    event.preventDefault();
    event.stopPropagation(); // the notebook would go to another cell
    marks[(to + marks.length) % marks.length].focus();
  });

  showImage();
  showSpots();
  model.on("change:value", showImage);
  model.on("change:spots", showSpots);
  model.on("change:selected", showSelected);
  return () => {
    if (address) URL.revokeObjectURL(address);
    model.off("change:value", showImage);
    model.off("change:spots", showSpots);
    model.off("change:selected", showSelected);
  };
}

export default { render };
