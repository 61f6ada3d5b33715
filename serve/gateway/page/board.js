// The samples of one request: a row a member, a chip a sample.

import { code, kind, KINDS, words } from "./verdicts.js";

export class Board {
  /** members: [{id, label, said, made}], in order. onPick(sample) is called when a chip is chosen. */
  constructor(element, legend, members, onPick) {
    this.onPick = onPick;
    this.rows = new Map(members.map((member) => [member.id, row(member)]));
    element.replaceChildren(...[...this.rows.values()].map((one) => one.element));
    legend.replaceChildren(...Object.entries(KINDS).map(([name, text]) => key(name, text)));
    this.clear();
  }

  clear() {
    this.samples = new Map();
    for (const { chips } of this.rows.values()) chips.replaceChildren();
    this.showShares();
  }

  step({ sample: number, member, seed, state, verdict }) {
    let sample = this.samples.get(number);
    if (!sample) {
      sample = { number, member, seed, text: null, chip: document.createElement("button") };
      sample.chip.type = "button";
      sample.chip.className = "chip";
      sample.chip.disabled = true; // until its text is there to be read
      sample.chip.addEventListener("click", () => this.pick(sample));
      this.samples.set(number, sample);
      const item = document.createElement("li");
      item.append(sample.chip);
      this.rows.get(member)?.chips.append(item);
    }
    Object.assign(sample, { state, verdict: verdict ?? null });
    show(sample, this.rows.get(member)?.said);
    this.showShares();
  }

  /** The texts of the candidates that came back; the first is the best. Gives the best's sample. */
  texts(choices) {
    const bySeed = new Map([...this.samples.values()].map((sample) => [sample.seed, sample]));
    const found = choices.map(({ content, alpharay }) => {
      const sample = bySeed.get(alpharay?.seed);
      if (sample) {
        sample.text = content;
        sample.chip.disabled = false;
      }
      return sample;
    });
    const [best] = found;
    if (best) {
      best.chip.classList.add("best");
      best.chip.setAttribute("aria-label", `${best.chip.title}, the best`);
    }
    return best;
  }

  pick(chosen) {
    for (const { chip, text } of this.samples.values()) {
      if (text !== null) chip.setAttribute("aria-pressed", String(chip === chosen.chip));
    }
    this.onPick(chosen);
  }

  counts() {
    const all = [...this.samples.values()];
    return {
      drawn: all.length,
      judged: all.filter((one) => one.state === "judged").length,
      accepted: all.filter((one) => one.verdict === "accepted").length,
    };
  }

  showShares() {
    const counted = [...this.samples.values()].filter((one) => one.state !== "lost");
    for (const [member, { bar, share }] of this.rows) {
      const own = counted.filter((one) => one.member === member).length;
      const percent = counted.length ? Math.round((100 * own) / counted.length) : 0;
      bar.style.width = `${percent}%`;
      share.textContent = own ? `${own} drawn, ${percent} %` : "none drawn";
    }
  }
}

function row({ label, said, made }) {
  const element = document.createElement("div");
  element.className = "member";
  element.innerHTML = `<h3></h3><ul class="chips"></ul><div class="share"><span class="bar"><i></i></span><span></span></div>`;
  element.querySelector("h3").textContent = label;
  element.querySelector("h3").title = made;
  const chips = element.querySelector(".chips");
  chips.setAttribute("aria-label", `samples of ${said}`);
  return { element, chips, said, bar: element.querySelector("i"), share: element.querySelector(".share > :last-child") };
}

function show(sample, origin) {
  const { chip, state, verdict } = sample;
  chip.dataset.state = state;
  const shown = { drawn: "", sampled: "…", aborted: "–", lost: "lost" };
  chip.textContent = state === "judged" ? code(verdict) : shown[state];
  if (state === "judged") chip.dataset.kind = kind(verdict);
  const said = { drawn: "being written", sampled: "written", aborted: "no longer needed", lost: "lost, drawn again" };
  const text = `sample ${sample.number + 1} of ${origin}: ${state === "judged" ? words(verdict) : said[state]}`;
  chip.title = text;
  chip.setAttribute("aria-label", text);
}

function key(name, text) {
  const item = document.createElement("li");
  const mark = document.createElement("span");
  mark.className = "key";
  mark.dataset.kind = name;
  item.append(mark, text);
  return item;
}
