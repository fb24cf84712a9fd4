// Files of a figure, made here from the drawing and the marks that the page holds; nothing is fetched.
const LARGE = 3; // pixels of a PNG for each unit of the drawing

function save(name, content) {
  const link = document.createElement("a");
  link.download = name;
  link.href = URL.createObjectURL(content);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// The drawing as a document of its own, without what the pointer or a search has added.
function svgOf(figure) {
  const drawing = figure.querySelector(".drawing svg").cloneNode(true);
  for (const added of drawing.querySelectorAll("path.pointed, path.found")) added.remove();
  const { width, height } = drawing.viewBox.baseVal;
  drawing.setAttribute("width", `${width}pt`);
  drawing.setAttribute("height", `${height}pt`);
  drawing.setAttribute("style", "stroke-linejoin: round; stroke-linecap: butt");
  for (const user of drawing.querySelectorAll("[href]")) {
    user.setAttributeNS("http://www.w3.org/1999/xlink", "xlink:href", user.getAttribute("href"));
  }
  return new XMLSerializer().serializeToString(drawing);
}

async function pngOf(figure) {
  const { width, height } = figure.querySelector(".drawing svg").viewBox.baseVal;
  const picture = new Image();
  picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svgOf(figure))}`;
  await picture.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width * LARGE, height * LARGE];
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// A value as RFC 4180 has it; a text that a spreadsheet would take for a formula gets an apostrophe.
function csvField(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csvOf(figure) {
  const rows = marksOf(figure).flatMap((group) => [...group.rows()].map((pairs) => new Map(pairs)));
  const names = [...new Set(rows.flatMap((row) => [...row.keys()]))];
  const lines = rows.map((row) => names.map((name) => csvField(row.get(name))).join(","));
  return [names.map(csvField).join(","), ...lines, ""].join("\r\n");
}

// Print one figure alone; browsers write it to a PDF in which lines stay lines and text stays text.
function printAlone(figure) {
  document.body.classList.add("alone");
  figure.classList.add("alone");
  print();
}

const MAKERS = {
  SVG: (figure, name) => save(`${name}.svg`, new Blob([svgOf(figure)], { type: "image/svg+xml" })),
  PNG: async (figure, name) => save(`${name}.png`, await pngOf(figure)),
  PDF: printAlone,
  CSV: (figure, name) => save(`${name}.csv`, new Blob(["\ufeff", csvOf(figure)], { type: "text/csv" })),
};

for (const button of document.querySelectorAll("button[data-file]")) {
  const figure = button.closest("figure");
  button.addEventListener("click", () => MAKERS[button.dataset.file](figure, figure.dataset.name));
}
for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.parentNode.querySelector("pre").textContent);
    button.textContent = "Copied";
  });
}
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of document.querySelectorAll(".alone")) part.classList.remove("alone");
});
