"use strict";
// Sorts and filters tables. Without it every row is there, in the order of the page.
for (const table of document.querySelectorAll("table[data-rows]")) {
  const body = table.tBodies[0];
  const step = Number(table.dataset.rows);
  const tools = document.getElementById(table.dataset.tools);
  const told = tools.querySelector("[role=status]");
  const more = document.getElementById(table.dataset.more);
  const all = Array.from(body.rows, (row) => ({ row, text: null }));
  const fields = Array.from(tools.querySelectorAll("input, select"));
  let order = all, found = all, shown = step;

  const text = (each) => (each.text ??= each.row.textContent.toLowerCase());
  const show = () => {
    // Few rows at a time: a browser lays out hundreds at once, and not ten thousand.
    body.replaceChildren(...found.slice(0, shown).map((each) => each.row));
    const some = Math.min(shown, found.length);
    told.textContent = `${found.length} of ${all.length}` + (some < found.length ? `, the first ${some} shown` : "");
    more.hidden = some >= found.length;
  };
  const filter = () => {
    const wanted = fields.map((field) => [field.name, field.value.trim().toLowerCase()]).filter(([, value]) => value);
    found = order.filter((each) => wanted.every(([name, value]) => {
      if (name === "text") return text(each).includes(value);
      const own = each.row.dataset[name].toLowerCase();
      return name === "state" ? own.split(" ").includes(value) : own === value;
    }));
    shown = step;
    show();
  };
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = all.map((each) => [each.row.cells[column].textContent, each]);
      keyed.sort((a, b) => (down ? compare(b[0], a[0]) : compare(a[0], b[0])));
      order = keyed.map(([, each]) => each);
      filter();
    });
  });
  more.addEventListener("click", () => {
    const next = found[shown];
    shown += step;
    show();
    next?.row.querySelector("a")?.focus();
  });
  for (const field of fields) field.addEventListener("input", filter);
  tools.hidden = false;
  show();
  document.documentElement.classList.remove("loading");
  // So that the first letter of a search need not wait for the text of every row.
  const read = (from) => {
    all.slice(from, from + 500).forEach(text);
    if (from < all.length) setTimeout(read, 0, from + 500);
  };
  setTimeout(read, 0, 0);
}
