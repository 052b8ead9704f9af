// The map of the catalogue: what an item is, by pointer or arrow keys; a click or Enter picks it; what is picked and
// recommended is marked. Runs once, with `element` (the map's place) and `trigger` given by Gradio.
const section = element.querySelector("section"), svg = section.querySelector(".field svg");
const numbers = JSON.parse(section.dataset.numbers), items = JSON.parse(section.querySelector(".map").dataset.samples);
const dots = [...svg.querySelectorAll(".spot")], place = new Map(numbers.map((number, i) => [number, i]));
const spots = dots.map((dot) => dot.getAttribute("transform").match(/translate\(([\d.-]+) ([\d.-]+)\)/).slice(1).map(Number));
const tip = section.querySelector("#tip"), layer = svg.appendChild(document.createElementNS(svg.namespaceURI, "g"));
layer.setAttribute("class", "marks");
document.body.appendChild(tip);
let at = -1;

const make = (name, attributes, text) => {
  const made = document.createElementNS(svg.namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
};
const leave = () => { if (at >= 0) dots[at].classList.remove("on"); at = -1; tip.hidden = true; };
const tell = (i) => {
  leave();
  at = i;
  dots[i].classList.add("on");
  const name = document.createElement("b"), group = document.createElement("span");
  name.textContent = items[i].name;  // as text, never as HTML
  group.textContent = items[i].group;
  tip.replaceChildren(name, ...(items[i].group ? [group] : []));
  tip.hidden = false;
  const dot = dots[i].getBoundingClientRect(), box = tip.getBoundingClientRect();
  tip.style.left = Math.max(8, Math.min(dot.right + 10, innerWidth - box.width - 8)) + "px";
  tip.style.top = Math.max(8, dot.bottom + 10 + box.height > innerHeight ? dot.top - box.height - 10 : dot.bottom + 10) + "px";
};
const nearest = (x, y, most, allowed = () => true) => {
  let best = -1, least = most * most;
  spots.forEach(([u, v], i) => {
    const far = (u - x) ** 2 + (v - y) ** 2;
    if (far < least && !dots[i].classList.contains("off") && allowed(u - x, v - y)) { best = i; least = far; }
  });
  return best;
};
const under = (event) => {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  return nearest(point.x, point.y, 12);
};
const pick = (i) => { if (i >= 0) { trigger("select", { key: "pick:" + numbers[i] }); leave(); } };

svg.addEventListener("pointermove", (event) => { const i = under(event); if (i < 0) leave(); else if (i !== at) tell(i); });
svg.addEventListener("pointerleave", leave);
svg.addEventListener("blur", leave);
svg.addEventListener("click", (event) => pick(under(event)));
addEventListener("scroll", leave, { passive: true });
svg.addEventListener("keydown", (event) => {
  if (event.key === "Escape") return leave();
  if (event.key === "Enter" || event.key === " ") { event.preventDefault(); return pick(at); }
  const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
  if (!way) return;
  event.preventDefault();
  if (at < 0) return tell(nearest(320, 220, 1e4));
  const [x, y] = spots[at];
  const next = nearest(x, y, 1e4, (u, v) => u * way[0] + v * way[1] > Math.abs(u * way[1] + v * way[0]));
  if (next >= 0) tell(next);
});

// One category alone, by its button.
const buttons = [...section.querySelectorAll(".legend button")];
for (const button of buttons) {
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button && on)));
    dots.forEach((dot, i) => dot.classList.toggle("off", on && items[i].group !== button.dataset.group));
  });
}

// Marks: what is picked (or what the user has), and the recommendations by their rank.
const mark = (told) => {
  const owned = JSON.parse(told.dataset.owned), listed = JSON.parse(told.dataset.listed);
  const many = owned.length > 12;
  layer.replaceChildren(
    ...owned.filter((number) => place.has(number)).map((number) => {
      const [cx, cy] = spots[place.get(number)];
      return make("circle", { class: many ? "owned many" : "owned", cx, cy, r: many ? 4.5 : 7, "data-number": number });
    }),
    ...listed.map((number, i) => [number, i + 1]).filter(([number]) => place.has(number)).reverse().map(([number, rank]) => {
      const [x, y] = spots[place.get(number)], group = make("g", { class: "hit", transform: `translate(${x} ${y})`, "data-number": number });
      group.append(make("circle", { r: 8.5 }), make("text", { y: 3.4 }, String(rank)));
      return group;
    }),
  );
  const off = listed.filter((number) => !place.has(number)).length;
  section.querySelector("#off").textContent = off ? `· ${off} of the recommended are not on the map` : "";
};
const look = () => { const told = document.querySelector("#marks output"); if (told) mark(told); };
const follow = () => {
  const marks = document.querySelector("#marks");
  if (!marks) return setTimeout(follow, 50);
  new MutationObserver(look).observe(marks, { childList: true, subtree: true, attributes: true });
  look();
};
follow();

// A row of the list and its mark belong together.
const hot = (event) => {
  const row = event.target.closest?.("#listed [data-number], #found [data-number]");
  for (const one of layer.children) one.classList.toggle("hot", Boolean(row) && one.dataset.number === row.dataset.number);
  if (row && place.has(Number(row.dataset.number))) dots[place.get(Number(row.dataset.number))].classList.add("near");
  for (const dot of svg.querySelectorAll(".near")) if (!row || dots[place.get(Number(row.dataset.number))] !== dot) dot.classList.remove("near");
};
document.addEventListener("pointerover", hot);
document.addEventListener("focusin", hot);
