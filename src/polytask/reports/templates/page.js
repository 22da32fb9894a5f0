"use strict";
(() => {
  const root = document.documentElement;
  const tip = document.getElementById("tip");
  const SVG = "http://www.w3.org/2000/svg";
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  function speak(language) {
    root.lang = language;
    for (const button of all("[data-language]"))
      button.setAttribute("aria-pressed", String(button.dataset.language === language));
    for (const input of all("[data-filter]"))
      input.placeholder = input.getAttribute(`data-placeholder-${language}`);
    name(document);
  }

  // A title in an SVG would be shown as a second tip; readers of screens get it as a label.
  function name(within) {
    for (const chart of all("svg.chart", within)) {
      chart.titles ??= all(":scope > title", chart).map((title) => {
        title.remove();
        return [title.getAttribute("lang"), title.textContent];
      });
      const own = chart.titles.find(([language]) => language === root.lang) ?? chart.titles[0];
      if (own) chart.setAttribute("aria-label", own[1]);
      const first = chart.querySelector(".mark");
      if (first && !chart.querySelector('.mark[tabindex="0"]')) first.setAttribute("tabindex", "0");
    }
  }

  function tint(theme) {
    root.dataset.theme = theme;
  }

  const dark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = false;
  tint(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => chosen || tint(dark.matches ? "dark" : "light"));

  // Paper is white.
  let before = null;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    tint("light");
    for (const details of all("details")) details.open = true;
  });
  addEventListener("afterprint", () => before && tint(before));

  function order(cell) {
    const text = cell.dataset.order ?? cell.textContent.trim();
    const number = Number(text);
    return text !== "" && Number.isFinite(number) ? number : text;
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  }

  function sort(head) {
    const column = [...head.parentNode.children].indexOf(head);
    const body = head.closest("table").tBodies[0];
    const rows = [...body.rows];
    const numeric = rows.some((row) => typeof order(row.cells[column]) === "number");
    const now = head.getAttribute("aria-sort");
    const next = now === "none" ? (numeric ? "descending" : "ascending") : now === "ascending" ? "descending" : "ascending";
    for (const other of head.parentNode.children) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", next);
    const sign = next === "ascending" ? 1 : -1;
    rows.sort((a, b) => sign * compare(order(a.cells[column]), order(b.cells[column])));
    body.append(...rows);
  }

  function filter(input) {
    const wanted = input.value.trim().toLocaleLowerCase();
    for (const row of input.closest(".table-block").querySelector("tbody").rows)
      row.hidden = !row.textContent.toLocaleLowerCase().includes(wanted);
  }

  function show(text, x, y) {
    tip.textContent = text;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, x + 14), innerWidth - width - 8);
    const top = y + 18 + height > innerHeight ? y - height - 12 : y + 18;
    tip.style.left = `${left}px`;
    tip.style.top = `${Math.max(8, top)}px`;
  }

  function hide() {
    tip.hidden = true;
    for (const cross of all(".cross")) cross.replaceChildren();
  }

  const said = (mark) => mark.getAttribute(`data-tip-${root.lang}`) ?? mark.dataset.tip;

  function make(tag, attributes) {
    const made = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  const place = ([low, high, start, end], value) => start + ((value - low) / (high - low)) * (end - start);
  const short = (value) => String(Number(value.toPrecision(4))).replace("-", "−");

  // The values of all curves at one epoch.
  function read(chart, epoch, x, y) {
    const data = (chart.data ??= JSON.parse(chart.dataset.lines));
    const cross = chart.querySelector(".cross");
    const at = place(data.x, epoch);
    cross.replaceChildren(make("line", { x1: at, x2: at, y1: data.y[2], y2: data.y[3] }));
    const lines = data.lines.map(([own, kind, points]) => {
      const near = points.reduce((a, b) => (Math.abs(b[0] - epoch) < Math.abs(a[0] - epoch) ? b : a));
      cross.append(make("circle", { cx: place(data.x, near[0]), cy: place(data.y, near[1]), r: 3.4, class: kind }));
      return [near[1], `${own ? own + "  " : ""}${short(near[1])}`];
    });
    lines.sort((a, b) => b[0] - a[0]);
    const title = chart.getAttribute(`data-along-${root.lang}`);
    show([`${title} ${short(epoch)}`, ...lines.slice(0, 14).map((line) => line[1])].join("\n"), x, y);
  }

  const epochs = (chart) => {
    chart.data ??= JSON.parse(chart.dataset.lines);
    return (chart.epochs ??= [...new Set(chart.data.lines.flatMap((line) => line[2].map((p) => p[0])))].sort((a, b) => a - b));
  };

  function point(event) {
    const chart = event.target.closest?.("svg[data-lines]");
    const mark = event.target.closest?.(".mark");
    hide();
    if (mark) show(said(mark), event.clientX, event.clientY);
    if (!chart || !epochs(chart).length) return;
    const box = chart.getBoundingClientRect();
    const [low, high, start, end] = chart.data.x;
    const across = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
    const epoch = low + ((across - start) / (end - start)) * (high - low);
    const near = epochs(chart).reduce((a, b) => (Math.abs(b - epoch) < Math.abs(a - epoch) ? b : a));
    read(chart, near, event.clientX, event.clientY);
  }

  function step(event) {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") hide();
    const chart = event.target.closest?.("svg.chart");
    if (!by || !chart) return;
    event.preventDefault();
    if (chart.dataset.lines) {
      const known = epochs(chart);
      if (!known.length) return;
      chart.at = Math.min(Math.max((chart.at ?? -1) + by, 0), known.length - 1);
      const box = chart.getBoundingClientRect();
      read(chart, known[chart.at], box.left + 40, box.top);
      return;
    }
    const marks = all(".mark", chart);
    const next = marks[(marks.indexOf(event.target) + by + marks.length) % marks.length];
    for (const mark of marks) mark.setAttribute("tabindex", mark === next ? "0" : "-1");
    next?.focus();
  }

  function focus(event) {
    const mark = event.target.closest?.(".mark");
    if (!mark) return;
    const box = mark.getBoundingClientRect();
    show(said(mark), box.left + box.width / 2, box.bottom - 12);
  }

  document.addEventListener("click", (event) => {
    const language = event.target.closest("[data-language]");
    const head = event.target.closest("th[aria-sort]");
    if (language) speak(language.dataset.language);
    if (head) sort(head);
    if (event.target.closest("[data-theme-toggle]")) {
      chosen = true;
      tint(root.dataset.theme === "dark" ? "light" : "dark");
    }
  });
  document.addEventListener("input", (event) => event.target.matches("[data-filter]") && filter(event.target));
  document.addEventListener("pointermove", point);
  document.addEventListener("pointerdown", point);
  document.addEventListener("pointerleave", hide);
  document.addEventListener("keydown", step);
  document.addEventListener("focusin", focus);
  document.addEventListener("focusout", hide);
  addEventListener("scroll", hide, { passive: true });
  root.addEventListener("polytask:drawn", () => name(document));

  if ("IntersectionObserver" in window) {
    const seen = new IntersectionObserver(
      (entries) => entries.forEach((entry) =>
        document.querySelector(`nav a[href="#${entry.target.id}"]`)?.classList.toggle("here", entry.isIntersecting)),
      { rootMargin: "-20% 0px -70% 0px" });
    for (const section of all("main section")) seen.observe(section);
  }
  speak(root.lang);
})();
