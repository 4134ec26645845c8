"use strict";
(() => {
  // Figures: the page's colours by day and by night; each is drawn when it comes near, or when the page is printed.
  const night = window.matchMedia("(prefers-color-scheme: dark)");
  const axis = (line, zero) => ({gridcolor: line, linecolor: zero, tickcolor: zero, zerolinecolor: line, automargin: true});
  const template = () => {
    const [text, line, zero, paper] = night.matches
      ? ["#e4e8ee", "#313947", "#5b6677", "#1c222c"] : ["#1c2330", "#e2e6ec", "#aeb7c4", "#ffffff"];
    const colour = {tickcolor: zero, outlinewidth: 0, tickfont: {color: text}, title: {font: {color: text}}};
    return {
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: {color: text, size: 12, family: "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif"},
        xaxis: axis(line, zero), yaxis: axis(line, zero), coloraxis: {colorbar: colour},
        hoverlabel: {bgcolor: paper, bordercolor: zero, font: {color: text}, align: "left"},
        legend: {bgcolor: "rgba(0,0,0,0)", orientation: "h", y: 1.02, yanchor: "bottom", x: 0},
        annotationdefaults: {font: {color: text}, arrowcolor: zero}, shapedefaults: {line: {color: zero}},
      },
      data: {contour: [{colorbar: colour}], scatter: [{marker: {colorbar: colour}}]},
    };
  };
  const drawn = new Set();
  const draw = (canvas) => {
    const told = JSON.parse(canvas.parentElement.querySelector("script").textContent);
    const margin = Object.assign({l: 48, r: 16, t: 40, b: 44}, told.layout.margin);
    const layout = Object.assign({}, told.layout, {template: template(), margin, autosize: true});
    const options = {responsive: true, displaylogo: false, displayModeBar: "hover", scrollZoom: false,
      modeBarButtonsToRemove: ["lasso2d", "select2d"], topojsonURL: "", plotlyServerURL: ""};
    drawn.add(canvas);
    return Plotly.react(canvas, told.data, layout, options);
  };
  const canvases = [...document.querySelectorAll("figure.plot .canvas")];
  const near = new IntersectionObserver((seen) => {
    for (const one of seen) {
      if (one.isIntersecting && !drawn.has(one.target)) draw(one.target);
    }
  }, {rootMargin: "800px"});
  canvases.forEach((canvas) => near.observe(canvas));
  night.addEventListener("change", () => drawn.forEach(draw));
  window.addEventListener("beforeprint", () => canvases.forEach((canvas) => drawn.has(canvas) || draw(canvas)));

  // Tables: a click on a head sorts, another one the other way round; what is absent stays last.
  const text = new Intl.Collator(undefined, {numeric: true});
  const absent = (cell) => cell.classList.contains("absent");
  const order = (a, b) => {
    if ("value" in a.dataset && "value" in b.dataset) return Number(a.dataset.value) - Number(b.dataset.value);
    return text.compare(a.textContent, b.textContent);
  };
  const limited = (table) => {
    const more = table.parentElement.nextElementSibling;
    const most = more && more.classList.contains("more") && !more.hidden ? Number(more.dataset.shown) : Infinity;
    [...table.tBodies[0].rows].forEach((row, place) => { row.hidden = place >= most; });
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, place) => head.querySelector("button").addEventListener("click", () => {
      const way = head.getAttribute("aria-sort") === "descending" ? 1 : head.getAttribute("aria-sort") ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", way === 1 ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows].sort((one, other) => {
        const a = one.cells[place], b = other.cells[place];
        return absent(a) - absent(b) || way * order(a, b);
      });
      table.tBodies[0].append(...rows);
      limited(table);
    }));
  }
  for (const more of document.querySelectorAll("button.more")) {
    more.addEventListener("click", () => {
      more.hidden = true;
      limited(more.previousElementSibling.querySelector("table"));
    });
  }

  // The table of contents is closed where it would fill the screen.
  if (window.innerWidth < 640) document.querySelector("nav details").open = false;
})();
