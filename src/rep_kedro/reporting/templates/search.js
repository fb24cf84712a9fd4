// One field finds networks everywhere: rings and bands in figures, rows in tables, and a list of the places.
const search = document.querySelector("#search input");
const places = document.querySelector("#search ol");
const total = document.querySelector("#search output");
let foundTables = [];

const SETTLING = 5; // frames in which drawings that have come near get their height, which moves the place

// Show a figure or a table: unfold what it is folded into, choose it among several, and go there.
function goTo(part) {
  for (let fold = part.closest("details"); fold; fold = fold.parentNode.closest("details")) fold.open = true;
  const choices = part.closest(".choices");
  if (choices && part.hidden) {
    const select = choices.querySelector("select");
    select.selectedIndex = [...choices.querySelectorAll("figure")].indexOf(part);
    select.dispatchEvent(new Event("change"));
  }
  const place = part.closest(".table") ?? part;
  const settle = (frames) => {
    place.scrollIntoView({ block: "start", behavior: "instant" });
    if (frames > 1) requestAnimationFrame(() => settle(frames - 1));
  };
  settle(SETTLING);
}

function listPlace(part, words) {
  const [item, link] = [document.createElement("li"), document.createElement("a")];
  link.href = "#search";
  link.textContent = words;
  link.addEventListener("click", (event) => {
    event.preventDefault();
    goTo(part);
  });
  item.append(link);
  places.append(item);
}

function findInFigures(wanted) {
  let n = 0;
  for (const figure of document.querySelectorAll("figure:has(script.marks)")) {
    const paths = wanted
      ? marksOf(figure).flatMap((group) => group.find((name) => String(name).toLowerCase().includes(wanted)))
      : [];
    if (paths.length || figure.querySelector("path.found")) drawOver(figure, "found", paths.join(""));
    if (paths.length) listPlace(figure, figure.querySelector("figcaption strong").textContent);
    n += paths.length > 0;
  }
  return n;
}

function findInTables(wanted) {
  for (const table of foundTables) {
    showRows(table, table.closest(".table").querySelector(".filter input")?.value ?? "");
  }
  foundTables = [];
  if (!wanted) return 0;
  for (const table of document.querySelectorAll("table:has(th[data-networks])")) {
    const columns = [...table.querySelectorAll("th[data-networks]")].map((header) => header.cellIndex);
    const holds = (row) => columns.some((i) => row.cells[i].textContent.toLowerCase().includes(wanted));
    const rows = [...table.tBodies[0].rows];
    const n = rows.filter(holds).length;
    if (!n) continue;
    for (const row of rows) row.hidden = !holds(row);
    foundTables.push(table);
    listPlace(table, `${table.caption.textContent} (${n} of ${rows.length} rows)`);
  }
  return foundTables.length;
}

function findNetworks() {
  const wanted = search.value.trim().toLowerCase();
  places.replaceChildren();
  const [nFigures, nTables] = [findInFigures(wanted), findInTables(wanted)];
  total.textContent = wanted ? `found in ${nFigures} figures and ${nTables} tables` : "";
}

// What a link leads to begins below the bar, however many places it lists.
const bar = document.querySelector("#search");
new ResizeObserver(() => {
  document.documentElement.style.scrollPaddingTop = `${bar.offsetHeight}px`;
}).observe(bar);

let waiting = 0;
search.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(findNetworks, 150);
});
