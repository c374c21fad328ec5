"use strict";
// Sorting, columns on request, the slider and the interactive curves. Without it, all is shown.
document.documentElement.classList.add("script");

function sortBy(table, index, header) {
  const down = header.getAttribute("aria-sort") === "descending";
  const rising = header.classList.contains("text") ? header.getAttribute("aria-sort") !== "ascending" : down;
  const body = table.tBodies[0];
  const value = (row) => row.cells[index].dataset.value;
  const compare = (a, b) => {
    const x = value(a), y = value(b);
    if (x === "" || y === "") return (x === "") - (y === "");  // what is not known comes last
    const order = header.classList.contains("text") ? x.localeCompare(y) : Number(x) - Number(y);
    return rising ? order : -order;
  };
  body.append(...[...body.rows].sort(compare));
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", rising ? "ascending" : "descending");
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((header, index) => {
    const button = header.querySelector("button");
    if (button) button.addEventListener("click", () => sortBy(table, index, header));
  });
}

for (const box of document.querySelectorAll("input[data-column]")) {
  const table = document.getElementById(box.dataset.table);
  const show = () => {
    for (const row of table.rows) row.cells[Number(box.dataset.column)].hidden = !box.checked;
  };
  box.addEventListener("change", show);
  show();
}

for (const slider of document.querySelectorAll("input[data-over]")) {
  const over = document.getElementById(slider.dataset.over);
  const move = () => { over.style.clipPath = `inset(0 ${100 - slider.value}% 0 0)`; };
  slider.addEventListener("input", move);
  move();
}

const DARK = matchMedia("(prefers-color-scheme: dark)").matches;
const COLOURS = DARK
  ? ["#56B4E9", "#E69F00", "#2BC49A", "#E3A0C6", "#F0E442", "#FF8A4C"]
  : ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];

function curve(place, panel) {
  const axis = { stroke: DARK ? "#a9adb3" : "#5c5c5c", grid: { stroke: DARK ? "#3a4049" : "#e3e5e8" } };
  const options = {
    title: panel.title, width: place.clientWidth, height: 210, scales: { x: { time: false } },
    axes: [axis, axis],
    series: [
      { label: "step" },
      ...panel.series.map((name, i) => ({ label: name, stroke: COLOURS[i % COLOURS.length], width: 1.5, spanGaps: true })),
    ],
  };
  const chart = new uPlot(options, panel.data, place);
  addEventListener("resize", () => chart.setSize({ width: place.clientWidth, height: 210 }));
}

const curves = document.getElementById("curve-data");
if (curves && window.uPlot) {
  const place = document.getElementById("curves");
  for (const panel of JSON.parse(curves.textContent)) curve(place, panel);
  document.getElementById("curves-static").hidden = true;
}
