"use strict";
(() => {
  const root = document.documentElement, tip = document.getElementById("tip"), toggle = document.getElementById("theme");

  // Theme: what the system says, until the reader chooses; a file may have no storage to remember it in.
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const remember = (theme) => { try { localStorage.setItem("counterpoint-theme", theme); } catch { /* not allowed here */ } };
  try { const kept = localStorage.getItem("counterpoint-theme"); if (kept === "dark" || kept === "light") root.dataset.theme = kept; } catch { /* not allowed here */ }
  const press = () => toggle.setAttribute("aria-pressed", String(dark()));
  toggle.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; remember(root.dataset.theme); press(); });
  press();

  // The tip: text goes in as text, never as HTML.
  const element = (name, text, kind) => { const made = document.createElement(name); if (text) made.textContent = text; if (kind) made.className = kind; return made; };
  let about = null;
  const show = (node, parts, x, y) => {
    about = node;
    tip.replaceChildren(...parts);
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(8, Math.min(x + 16, innerWidth - box.width - 8)) + "px";
    tip.style.top = Math.max(8, y + 16 + box.height > innerHeight ? y - box.height - 12 : y + 16) + "px";
  };
  const hide = (node) => { if (!node || node === about) tip.hidden = true; };
  addEventListener("scroll", () => hide(), { passive: true });
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  // A lifted finger has not gone elsewhere: what it touched stays told until it touches something else.
  const closers = [() => hide()];
  addEventListener("pointerdown", () => closers.forEach((close) => close()), true);
  const pointed = (node, tell) => { for (const kind of ["pointerdown", "pointermove"]) node.addEventListener(kind, tell); };
  const left = (node, close) => {
    node.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") close(); });
    node.addEventListener("blur", close);
  };
  const middle = (node) => { const box = node.getBoundingClientRect(); return [box.left + box.width / 2, box.top + box.height / 2]; };

  for (const node of document.querySelectorAll("[data-tip]")) {
    const tell = (event) => { const [x, y] = event.clientX ? [event.clientX, event.clientY] : middle(node); show(node, [element("span", node.dataset.tip)], x, y); };
    pointed(node, tell);
    node.addEventListener("focus", tell);
    left(node, () => hide(node));
  }

  // Line charts: the values at the nearest moment, by pointer or arrow keys.
  for (const figure of document.querySelectorAll("[data-chart]")) {
    const lines = JSON.parse(figure.dataset.chart), plot = figure.querySelector(".plot");
    const moments = [...new Set(lines.flatMap((line) => line.points.map((point) => point[0])))].sort((a, b) => a - b);
    const cross = figure.querySelector(".cross"), area = figure.querySelector(".lines");
    let at = moments.length - 1;
    const nearest = (points, x) => points.reduce((best, point) => Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best);
    const tell = (y) => {
      const x = moments[at], box = area.getBoundingClientRect();
      const named = lines.map((line) => [line, nearest(line.points, x)]);
      const title = named.find(([, point]) => point[0] === x)[1][1];
      const rows = named.map(([line, point]) => { const row = element("div", "", "c" + line.color); row.append(element("span", line.name), element("span", point[2])); return row; });
      cross.hidden = false;
      cross.style.left = x + "%";
      show(plot, [element("b", title), ...rows], box.left + box.width * x / 100, y ?? box.top + box.height / 3);
    };
    pointed(plot, (event) => {
      const box = area.getBoundingClientRect(), x = 100 * (event.clientX - box.left) / box.width;
      at = moments.reduce((best, moment, i) => Math.abs(moment - x) < Math.abs(moments[best] - x) ? i : best, 0);
      tell(event.clientY);
    });
    plot.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      at = Math.max(0, Math.min(moments.length - 1, at + (event.key === "ArrowRight" ? 1 : -1)));
      event.preventDefault();
      tell();
    });
    plot.addEventListener("focus", () => { if (plot.matches(":focus-visible")) tell(); });
    const close = () => { cross.hidden = true; hide(plot); };
    left(plot, close);
    closers.push(close);
  }

  const REACH = 12;
  // Maps: what a sample is, by pointer or arrow keys; one class alone, by its button.
  for (const figure of document.querySelectorAll(".map")) {
    const samples = JSON.parse(figure.dataset.samples), svg = figure.querySelector(".field svg");
    const dots = [...svg.querySelectorAll(".spot")];
    const places = dots.map((dot) => dot.getAttribute("transform").match(/[\d.]+/g).slice(0, 2).map(Number));
    let at = -1;
    const leave = () => { if (at >= 0) dots[at].classList.remove("on"); hide(svg); };
    const tell = (i, x, y) => {
      leave();
      at = i;
      dots[i].classList.add("on");
      const sample = samples[i], parts = [];
      if (sample.picture) { const image = element("img"); image.alt = ""; image.src = sample.picture; parts.push(image); }
      if (sample.group) parts.push(element("b", sample.group));
      parts.push(element("span", sample.name));
      if (sample.text) parts.push(element("p", sample.text));
      show(svg, parts, x, y);
    };
    // A finger is wider than a mark: the nearest one within reach is meant.
    const nearest = (event) => {
      const box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width, x = event.clientX - box.left, y = event.clientY - box.top;
      const far = places.map(([a, b], i) => dots[i].classList.contains("off") ? Infinity : Math.hypot(a * scale - x, b * scale - y));
      const i = far.indexOf(Math.min(...far));
      return far[i] < REACH ? i : -1;
    };
    const point = (event) => {
      const under = dots.indexOf(event.target), i = under >= 0 ? under : nearest(event);
      if (i >= 0) tell(i, event.clientX, event.clientY); else leave();
    };
    pointed(svg, point);
    left(svg, leave);
    closers.push(leave);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const next = (at + step + dots.length) % dots.length;
      tell(next, ...middle(dots[next]));
    });
    const buttons = [...figure.querySelectorAll(".legend button")];
    const alone = (group) => dots.forEach((dot, i) => dot.classList.toggle("off", group !== null && samples[i].group !== group));
    for (const button of buttons) {
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button && on)));
        alone(on ? button.dataset.group : null);
      });
    }
  }
})();
