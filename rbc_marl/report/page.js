"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const print = matchMedia("print");
  const page = document.documentElement;

  // Colours of the page in place of those of a light one.
  const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const colours = new RegExp(Object.keys(figures.dark).map(escaped).join("|"), "g");
  const themed = (figure) => {
    const text = JSON.stringify(figure);
    return JSON.parse(dark.matches && !print.matches ? text.replace(colours, (colour) => figures.dark[colour]) : text);
  };

  // Tables: a button in the head of each column sorts by it, up, then down.
  const valueOf = (cell) => {
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = Number(text.replace(/,/g, "").replace(/^\+/, "").replace(/\s*(%|±.*|\/.*|\(.*)$/, ""));
    return text === "" ? null : Number.isNaN(number) ? text : number;
  };
  const order = (first, second) => {
    if (typeof first !== typeof second) return typeof first === "number" ? -1 : 1;
    return typeof first === "number" ? first - second : first.localeCompare(second, "en", { numeric: true });
  };
  const sort = (table, column, head) => {
    const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of head.parentNode.children) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [valueOf(row.cells[column]), row]);
    rows.sort(([first], [second]) => {  // what is missing stands last, whichever way
      if (first === null || second === null) return (first === null) - (second === null);
      return direction * order(first, second);
    });
    body.append(...rows.map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("table")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.textContent = "";
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sort(table, column, head));
    });
  }

  // The charting library comes packed in the page, and is unpacked here.
  const unpacked = async () => {
    const bytes = Uint8Array.from(atob(document.getElementById("library").textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  };
  const options = {
    responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };
  const draw = async () => {
    for (const plot of document.querySelectorAll(".plot")) {
      const { data, layout } = themed(figures.charts[plot.id]);
      await Plotly.react(plot, data, layout, options);
    }
    page.dataset.drawn = String(document.querySelectorAll(".plot .main-svg").length);
  };
  const start = async () => {
    if (document.querySelector(".plot") === null) return;
    try {
      await unpacked();
      await draw();
    } catch (error) {
      for (const plot of document.querySelectorAll(".plot:empty")) {
        plot.textContent = "This browser cannot draw this figure; the folder figures has it as a picture.";
      }
      throw error;
    }
    dark.addEventListener("change", draw);
    const resized = () => document.querySelectorAll(".plot").forEach((plot) => Plotly.Plots.resize(plot));
    print.addEventListener("change", () => draw().then(resized));
  };
  start();
})();
