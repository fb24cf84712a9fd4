// A box at the pointer says what the mark under it is.
const svgNamespace = "http://www.w3.org/2000/svg";
const hint = document.createElement("dl");
hint.className = "hint";
hint.hidden = true;
document.body.append(hint);

function written(value) {
  if (value === null) return "undefined";
  return String(value).replace(/^-(?=\d)/, "−");
}

// A path on top of a drawing, in a layer of its own for each purpose.
function drawOver(figure, layer, data) {
  const drawing = figure.querySelector(".drawing svg");
  let path = drawing.querySelector(`path.${layer}`);
  if (!path) {
    path = document.createElementNS(svgNamespace, "path");
    path.setAttribute("class", layer);
    drawing.append(path);
  }
  path.setAttribute("d", data);
}

function placeHint(event) {
  const [width, height] = [hint.offsetWidth, hint.offsetHeight];
  const x = event.clientX + 14 + width < innerWidth ? event.clientX + 14 : event.clientX - 14 - width;
  const y = event.clientY + 14 + height < innerHeight ? event.clientY + 14 : event.clientY - 14 - height;
  hint.style.left = `${Math.max(4, x)}px`;
  hint.style.top = `${Math.max(4, y)}px`;
}

function point(figure, event) {
  const drawing = figure.querySelector(".drawing svg");
  const { left, top, width } = drawing.getBoundingClientRect();
  const scale = drawing.viewBox.baseVal.width / width;
  const mark = markAt(figure, (event.clientX - left) * scale, (event.clientY - top) * scale);
  hint.hidden = !mark;
  drawOver(figure, "pointed", mark ? `M${mark.x - 5},${mark.y}a5,5 0 1 0 10,0a5,5 0 1 0 -10,0` : "");
  if (!mark) return;
  hint.replaceChildren(
    ...mark.pairs.flatMap(([name, value]) => {
      const [term, description] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      description.textContent = written(value);
      return [term, description];
    }),
  );
  placeHint(event);
}

for (const choices of document.querySelectorAll(".choices")) {
  const select = choices.querySelector("select");
  select.addEventListener("change", () => {
    choices.querySelectorAll("figure").forEach((figure, place) => {
      figure.hidden = place !== select.selectedIndex;
    });
  });
}
for (const figure of document.querySelectorAll("figure:has(script.marks)")) {
  const drawing = figure.querySelector(".drawing svg");
  for (const kind of ["pointermove", "pointerdown"]) {
    drawing.addEventListener(kind, (event) => point(figure, event));
  }
  drawing.addEventListener("pointerleave", () => {
    hint.hidden = true;
    drawOver(figure, "pointed", "");
  });
}
