"use strict";
(() => {
  const PAGE_ROWS = 12;
  const NARROW = 620;
  const PALETTES = {
    light: { ink: "#1d2430", soft: "#5b6675", grid: "#e6e9ed", zero: "#9aa3ad", paper: "#ffffff" },
    dark: { ink: "#e3e7ec", soft: "#9ba6b4", grid: "#2a313a", zero: "#6b7683", paper: "#1b2027" },
  };
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const plots = new Map();
  let printing = false;

  // ---- figures -------------------------------------------------------------------------------------------------
  const shorten = (label, length) => {
    // Labels are escaped, so they are cut as text and not in the middle of an entity.
    const box = document.createElement("textarea");
    box.innerHTML = label;
    const text = box.value.trim();
    if (text.length <= length) return label;
    box.textContent = text.slice(0, length - 1).trimEnd() + "…";
    return box.innerHTML + "  ";
  };

  const layoutOf = (spec, width) => {
    const colours = PALETTES[dark.matches && !printing ? "dark" : "light"];
    const layout = { ...structuredClone(spec.layout), width };
    layout.font = { ...layout.font, color: colours.ink, family: getComputedStyle(document.body).fontFamily };
    layout.hoverlabel = { ...layout.hoverlabel, bgcolor: colours.paper, bordercolor: colours.grid, font: { color: colours.ink } };
    for (const name of Object.keys(layout)) {
      if (!/^[xy]axis\d*$/.test(name)) continue;
      const axis = layout[name];
      Object.assign(axis, { gridcolor: colours.grid, zerolinecolor: colours.zero, linecolor: colours.grid });
      axis.tickfont = { ...axis.tickfont, color: colours.ink };
      if (axis.title) axis.title.font = { ...axis.title.font, color: colours.soft, size: 12 };
      if (axis.ticktext && name.startsWith("y") && width < NARROW) {
        axis.ticktext = axis.ticktext.map((label) => shorten(label, 17));
        axis.tickfont.size = 11;
      }
      if (axis.ticktext && name.startsWith("x") && width < NARROW) axis.tickfont.size = 9;
    }
    if (width < NARROW && layout.height > 600 && !layout.yaxis?.ticktext) layout.height = 460;
    return layout;
  };

  const draw = (id) => {
    const { spec, node } = plots.get(id);
    // A page of A4 or Letter within its margins; the layout of print is not there to be measured yet.
    const width = !printing ? node.clientWidth : node.closest(".charts") ? 325 : 680;
    plots.get(id).narrow = width < NARROW;
    // Plotly keeps what it is given, and each drawing starts from the page's own copy.
    const data = structuredClone(spec.data).map((trace, i) => ({ ...trace, visible: plots.get(id).visible[i] }));
    const ink = PALETTES[dark.matches && !printing ? "dark" : "light"].ink;
    for (const trace of data) if (trace.type === "heatmap") trace.textfont = { color: ink };
    return Plotly.react(node, data, layoutOf(spec, width), {
      displaylogo: false,
      displayModeBar: false,
      scrollZoom: false,
      doubleClick: "reset",
    });
  };

  for (const script of document.querySelectorAll("script[data-figure]")) {
    const spec = JSON.parse(script.textContent);
    const node = document.getElementById(script.dataset.figure);
    plots.set(node.id, { spec, node, narrow: false, visible: spec.data.map(() => true) });
    draw(node.id);
  }
  const drawAll = () => plots.forEach((_, id) => draw(id));
  dark.addEventListener("change", drawAll);
  const resizes = new ResizeObserver((entries) => {
    if (printing) return;
    for (const { target } of entries) {
      const plot = plots.get(target.id);
      if (plot.narrow !== target.clientWidth < NARROW) draw(target.id);
      else if (target.layout.width !== target.clientWidth) Plotly.relayout(target, { width: target.clientWidth });
    }
  });
  plots.forEach(({ node }) => resizes.observe(node));

  for (const bar of document.querySelectorAll(".toggles")) {
    const node = bar.parentElement.querySelector(".plot");
    const plot = plots.get(node.id);
    bar.hidden = false;
    bar.addEventListener("change", (event) => {
      const trace = Number(event.target.dataset.trace);
      plot.visible[trace] = event.target.checked;
      Plotly.restyle(node, { visible: event.target.checked }, [trace]);
    });
    bar.addEventListener("click", (event) => {
      const factor = event.target.dataset.zoom;
      if (factor === undefined) return;
      if (factor === "0") return Plotly.relayout(node, { "xaxis.autorange": true, "yaxis.autorange": true });
      const zoomed = (axis) => {
        const [a, b] = node._fullLayout[axis].range;
        const middle = (a + b) / 2, half = ((b - a) / 2) * Number(factor);
        return [middle - half, middle + half];
      };
      return Plotly.relayout(node, { "xaxis.range": zoomed("xaxis"), "yaxis.range": zoomed("yaxis") });
    });
  }

  // ---- tables that can be searched -------------------------------------------------------------------------------
  const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  for (const browser of document.querySelectorAll(".browser")) {
    const rows = [...browser.querySelectorAll("tbody tr")];
    const texts = rows.map((row) => fold(row.textContent));
    const search = browser.querySelector("[data-search]");
    const filters = [...browser.querySelectorAll("[data-filter]")];
    const count = browser.querySelector(".count");
    const more = browser.querySelector(".more");
    let limit = PAGE_ROWS;
    const show = () => {
      const words = fold(search ? search.value : "").split(/\s+/).filter(Boolean);
      let matching = 0;
      rows.forEach((row, i) => {
        const fits =
          filters.every((filter) => !filter.value || row.dataset[filter.dataset.filter] === filter.value) &&
          words.every((word) => texts[i].includes(word));
        if (fits) matching += 1;
        row.hidden = !fits || matching > limit;
      });
      const shown = Math.min(matching, limit);
      count.textContent = matching ? `${shown} of ${matching} rows` : "No row fits.";
      more.hidden = shown === matching;
    };
    const restart = () => { limit = PAGE_ROWS; show(); };
    search?.addEventListener("input", restart);
    filters.forEach((filter) => filter.addEventListener("change", restart));
    more.querySelector("button").addEventListener("click", () => { limit += 8 * PAGE_ROWS; show(); });
    browser.querySelector(".controls").hidden = false;
    show();
  }

  // ---- where in the page one is ----------------------------------------------------------------------------------
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const inView = new Set();
  const observer = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) inView[entry.isIntersecting ? "add" : "delete"](entry.target.id);
      const current = [...links.keys()].find((id) => inView.has(id));
      links.forEach((a, id) => (id === current ? a.setAttribute("aria-current", "true") : a.removeAttribute("aria-current")));
      const link = links.get(current), nav = document.querySelector("nav");
      if (link) nav.scrollTo({ left: link.offsetLeft - nav.offsetLeft - nav.clientWidth / 2 });
    },
    { rootMargin: "-20% 0px -70% 0px" },
  );
  document.querySelectorAll("main section").forEach((section) => observer.observe(section));

  // ---- print: light figures, and what was folded away stays folded except short tables --------------------------
  const opened = [];
  window.addEventListener("beforeprint", () => {
    printing = true;
    for (const details of document.querySelectorAll("details:not([open])")) {
      if (details.querySelectorAll("tbody tr").length <= 40) { details.open = true; opened.push(details); }
    }
    plots.forEach((_, id) => draw(id));
  });
  window.addEventListener("afterprint", () => {
    printing = false;
    for (const details of opened.splice(0)) details.open = false;
    drawAll();
  });
})();
