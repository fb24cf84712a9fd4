// Tables sort by a click on a heading, and show the rows that hold what is typed into their field.
const FEW_ROWS = 8;

function keyOf(row, column) {
  const cell = row.cells[column];
  return cell.dataset.key ?? cell.textContent;
}

function sortBy(header) {
  const falls = header.getAttribute("aria-sort") === "ascending";
  for (const other of header.parentNode.children) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", falls ? "descending" : "ascending");
  const [column, isNumber] = [Number(header.dataset.column), header.dataset.number === "yes"];
  const body = header.closest("table").tBodies[0];
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [keyOf(a, column), keyOf(b, column)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = isNumber ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true });
    return falls ? -order : order;
  });
  body.append(...rows);
}

// Hide the rows that lack a wanted text, in any of several that are given; return how many are left.
function showRows(table, ...wanted) {
  const texts = wanted.map((text) => text.trim().toLowerCase()).filter(Boolean);
  let n = 0;
  for (const row of table.tBodies[0].rows) {
    const held = row.textContent.toLowerCase();
    row.hidden = !texts.every((text) => held.includes(text));
    n += !row.hidden;
  }
  return n;
}

function addFilter(table) {
  const field = document.createElement("input");
  field.type = "search";
  field.placeholder = "Filter rows";
  field.setAttribute("aria-label", `Filter rows: ${table.caption.textContent}`);
  const count = document.createElement("output");
  const bar = document.createElement("p");
  bar.className = "filter";
  bar.append(field, count);
  table.closest(".scroll").before(bar);
  const all = table.tBodies[0].rows.length;
  field.addEventListener("input", () => {
    const n = showRows(table, field.value);
    count.textContent = n < all ? `${n} of ${all} rows` : "";
  });
}

for (const header of document.querySelectorAll("th[data-column]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...header.childNodes);
  header.append(button);
  button.addEventListener("click", () => sortBy(header));
}
for (const table of document.querySelectorAll("table")) {
  if (table.tBodies[0].rows.length > FEW_ROWS) addFilter(table);
}
