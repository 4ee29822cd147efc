// The image of one point, at the pointer. No message goes to the kernel.

const WIDTH = 96; // about, in pixels of the screen
const REST_MS = 100;

const pointer = { x: 0, y: 0 };
document.addEventListener(
  "pointermove",
  (event) => Object.assign(pointer, { x: event.clientX, y: event.clientY }),
  { capture: true, passive: true },
);

function render({ model }) {
  const box = document.createElement("div");
  box.className = "isa-hover";
  box.setAttribute("role", "tooltip");
  box.hidden = true;
  const image = document.createElement("div");
  const text = document.createElement("div");
  box.append(image, text);
  document.body.append(box);

  let address = null;
  function load() {
    if (address) URL.revokeObjectURL(address);
    address = URL.createObjectURL(new Blob([model.get("sprite")], { type: "image/png" }));
    image.style.backgroundImage = `url(${address})`;
  }

  let rest = null;
  function show() {
    const index = model.get("index") ?? -1;
    // The other plots are redrawn when the pointer rests, and the image is shown before.
    clearTimeout(rest);
    rest = setTimeout(() => model.set("hovering", index), REST_MS);
    box.hidden = index < 0 || index >= model.get("names").length;
    if (box.hidden) return;
    const [height, width] = model.get("size");
    const columns = model.get("columns");
    const scale = Math.max(1, Math.round(WIDTH / width));
    image.style.width = `${scale * width}px`;
    image.style.height = `${scale * height}px`;
    image.style.backgroundSize = `${scale * width * Math.min(columns, model.get("names").length)}px auto`;
    image.style.backgroundPosition =
      `${-scale * width * (index % columns)}px ${-scale * height * Math.floor(index / columns)}px`;
    text.textContent = model.get("names")[index];
    const isRight = pointer.x > window.innerWidth / 2;
    const isLow = pointer.y > window.innerHeight / 2;
    box.style.left = `${pointer.x + (isRight ? -14 - box.offsetWidth : 14)}px`;
    box.style.top = `${pointer.y + (isLow ? -14 - box.offsetHeight : 14)}px`;
  }

  load();
  model.on("change:sprite", load);
  model.on("change:index", show);
  return () => {
    box.remove();
    if (address) URL.revokeObjectURL(address);
    model.off("change:sprite", load);
    model.off("change:index", show);
  };
}

export default { render };
