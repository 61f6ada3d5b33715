// The frontier: of each member's judged samples, the share that failed by being wrong against the share that
// failed by being slow. What is left to 100 % was solved, so that equal solve rates lie on falling diagonals.

import { kind } from "./verdicts.js";

const HEIGHT = 350, LEFT = 56, RIGHT = 24, TOP = 26, BOTTOM = 46;
const SAME_PLACE = 10; // points closer than this, in the drawing's units, share a label

/** Verdict counts: {member: {accepted, incorrect, slow}} of a Prometheus page's alpharay_verdicts_total. */
export function counted(page) {
  const totals = {};
  for (const line of page.split("\n")) {
    const found = /^alpharay_verdicts_total\{([^}]*)\}\s+(\S+)/.exec(line);
    if (!found) continue;
    const labels = Object.fromEntries([...found[1].matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name, value]));
    add(totals, labels.member, labels.verdict, Number(found[2]));
  }
  return totals;
}

/** Adds judged samples to such counts. Our own faults count for and against nobody. */
export function add(totals, member, verdict, number = 1) {
  if (kind(verdict) === "ours") return;
  const own = (totals[member] ??= { accepted: 0, incorrect: 0, slow: 0 });
  own[kind(verdict)] += number;
}

/** The points to draw: [{alpha, label, said, made, judged, solved, incorrect, slow}], shares in [0, 1], in the members' order. */
export function points(members, totals) {
  return members.map(({ id, alpha, label, said, made }) => {
    const { accepted = 0, incorrect = 0, slow = 0 } = totals[id] ?? {};
    const judged = accepted + incorrect + slow;
    const share = (number) => (judged ? number / judged : 0);
    return { alpha, label, said, made, judged, solved: share(accepted), incorrect: share(incorrect), slow: share(slow) };
  });
}

export function draw(chart, body, all) {
  body.replaceChildren(...all.map(tableRow));
  const known = all.filter((one) => one.judged);
  if (!known.length) {
    chart.innerHTML = `<p class="quiet">No sample has been judged yet.</p>`;
    return;
  }
  const width = Math.min(720, Math.max(300, chart.clientWidth));
  const x = scale(known.map((one) => one.slow), LEFT, width - RIGHT);
  const y = scale(known.map((one) => one.incorrect), HEIGHT - BOTTOM, TOP);
  const svg = element("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img" });
  svg.setAttribute("aria-label", "Correctness failures against efficiency failures by member; the table below has the figures.");
  svg.append(...levels(x, y), ...axes(x, y));
  // Only alphas are a line: others stand by themselves.
  const onLine = known.filter((one) => one.alpha !== null).sort((one, other) => one.alpha - other.alpha);
  if (onLine.length > 1) {
    const line = onLine.map((one) => `${x.at(one.slow)},${y.at(one.incorrect)}`).join(" ");
    svg.append(element("polyline", { class: "path", points: line }));
  }
  for (const group of groups(known, x, y)) svg.append(...group.marks, label(group, x.to));
  chart.replaceChildren(svg);
}

/** A linear scale over the values with some room, its ends on round percentages within [0, 1]. */
function scale(values, from, to) {
  const room = Math.max(0.05, (Math.max(...values) - Math.min(...values)) * 0.2);
  let low = Math.max(0, Math.min(...values) - room);
  let high = Math.min(1, Math.max(...values) + room);
  const step = [0.02, 0.05, 0.1, 0.2].find((one) => (high - low) / one <= (Math.abs(to - from) < 400 ? 4 : 6)) ?? 0.25;
  low = Math.floor(low / step + 1e-9) * step;
  high = Math.min(1, Math.ceil(high / step - 1e-9) * step);
  const ticks = [];
  for (let tick = low; tick <= high + 1e-9; tick += step) ticks.push(tick);
  return { low, high, ticks, to, at: (value) => from + ((value - low) / (high - low)) * (to - from) };
}

function axes(x, y) {
  const bottom = HEIGHT - BOTTOM;
  const made = [
    element("line", { class: "axis", x1: LEFT, y1: bottom, x2: x.to, y2: bottom }),
    element("line", { class: "axis", x1: LEFT, y1: TOP, x2: LEFT, y2: bottom }),
    text("efficiency failures (out of time or memory)", (LEFT + x.to) / 2, HEIGHT - 8, "middle"),
  ];
  for (const tick of x.ticks) made.push(text(percent(tick), x.at(tick), bottom + 17, "middle"));
  for (const tick of y.ticks) made.push(text(percent(tick), LEFT - 8, y.at(tick) + 4, "end"));
  const name = text("correctness failures", 0, 0, "middle");
  name.setAttribute("transform", `translate(13 ${(TOP + bottom) / 2}) rotate(-90)`);
  return [...made, name];
}

/** Lines of equal solve rate: slow + incorrect = 1 - solved. */
function levels(x, y) {
  const made = [];
  const apart = (step) => Math.abs(x.at(step) - x.at(0)); // of two lines' labels, which stand side by side
  const every = [0.1, 0.2, 0.25].find((step) => apart(step) > 80) ?? 0.5;
  for (let solved = every; solved < 0.95; solved += every) {
    const failed = 1 - solved;
    const from = { slow: Math.max(x.low, failed - y.high), wrong: 0 };
    from.wrong = failed - from.slow;
    const to = { slow: Math.min(x.high, failed - y.low), wrong: 0 };
    to.wrong = failed - to.slow;
    if (to.slow - from.slow <= (x.high - x.low) * 0.04) continue;
    made.push(
      element("line", { class: "level", x1: x.at(from.slow), y1: y.at(from.wrong), x2: x.at(to.slow), y2: y.at(to.wrong) }),
      text(`${percent(solved)} solved`, x.at(to.slow) - 4, y.at(to.wrong) - 5, "end"),
    );
  }
  return made;
}

/** The points that lie on one another, each group with its place, its marks and its labels. */
function groups(known, x, y) {
  const found = [];
  for (const one of known) {
    const at = { x: x.at(one.slow), y: y.at(one.incorrect) };
    let group = found.find((other) => Math.hypot(other.x - at.x, other.y - at.y) < SAME_PLACE);
    if (!group) found.push((group = { ...at, marks: [], labels: [] }));
    group.labels.push(one.label);
    group.marks.push(mark(one, at));
  }
  return found;
}

function mark(one, at) {
  const circle = element("circle", { cx: at.x, cy: at.y, r: 6 });
  const title = element("title", {});
  title.textContent = `${one.said}: ${percent(one.solved)} solved of ${one.judged} judged`;
  circle.append(title);
  return circle;
}

function label({ x, y, labels }, end) {
  const right = x < end - 60; // the line falls to the right: above it there is room
  const made = text(joined(labels), x + (right ? 9 : -9), y - 9, right ? "start" : "end");
  made.setAttribute("class", "alpha");
  return made;
}

/** `α 0, 0.5, wide`: the sign once for all alphas. */
const joined = (labels) => labels.map((one, at) => (at && labels[at - 1].startsWith("α ") ? one.replace("α ", "") : one)).join(", ");

function tableRow(one) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = one.label.replace("α ", "");
  head.title = one.made;
  const shares = one.judged ? [one.solved, one.incorrect, one.slow].map((share) => percent(share, 1)) : ["–", "–", "–"];
  for (const shown of [one.judged, ...shares]) {
    const cell = document.createElement("td");
    cell.textContent = shown;
    row.append(cell);
  }
  row.prepend(head);
  return row;
}

const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;

function text(content, atX, atY, anchor) {
  const made = element("text", { x: atX, y: atY, "text-anchor": anchor });
  made.textContent = content;
  return made;
}

function element(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
