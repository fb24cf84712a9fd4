"use strict";
for (const header of document.querySelectorAll("th[data-column]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...header.childNodes);
  header.append(button);
  button.addEventListener("click", () => {
    const falls = header.getAttribute("aria-sort") === "ascending";
    for (const other of header.parentNode.children) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", falls ? "descending" : "ascending");
    const body = header.closest("table").tBodies[0];
    const isNumber = header.dataset.number === "yes";
    const keyOf = (row) => {
      const cell = row.cells[Number(header.dataset.column)];
      return cell.dataset.key ?? cell.textContent;
    };
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [keyOf(a), keyOf(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNumber ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true });
      return falls ? -order : order;
    });
    body.append(...rows);
  });
}
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
