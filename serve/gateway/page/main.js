// The page: reads the form, runs the request, and hands what arrives to the board, the chart and the answer.

import { Board } from "./board.js";
import { add, counted, draw, points } from "./frontier.js";
import { ask, curl, Refused, told } from "./stream.js";
import { words } from "./verdicts.js";

const $ = (id) => document.getElementById(id);
const address = (path) => new URL(path, document.baseURI).href;
const CHAT = "v1/chat/completions";

let model = null; // the ensemble's name
let members = [];
let board = null;
let totals = {};
let running = null; // the AbortController of the request under way
let shown = ""; // the program on display

const keyHeader = () => ($("key").value ? { Authorization: `Bearer ${$("key").value}` } : {});

async function learnWhatIsServed() {
  const reply = await fetch(address("v1/models"), { headers: keyHeader() });
  if (reply.status === 401) {
    $("key").closest("details").open = true;
    $("served").textContent = "this server asks for an API key: give it under “Seed, policy, API key”";
    return;
  }
  if (!reply.ok) throw new Refused(await told(reply));
  const models = (await reply.json()).data;
  model = models.find((one) => one.alpharay.kind === "ensemble").id;
  members = models
    .filter((one) => one.alpharay.kind === "member")
    .map(({ id, alpharay: { alpha, weights } }) => ({ id, alpha, weights, ...named(id, alpha, weights) }));
  $("served").textContent = `${model}: ${members.map((one) => one.label).join(", ")}`;
  board = new Board($("board"), $("legend"), members, showProgram);
  await refreshTotals();
}

/** How a member is called: by its alpha, or by the name that it was given; `made` says of what it is made. */
function named(id, alpha, weights) {
  const made = Object.entries(weights).map(([name, weight]) => `${name} ${weight}`).join(", ");
  const name = id.slice(id.indexOf("@") + 1);
  // No name that was given reads as a number.
  return Number.isNaN(Number(name)) ? { label: name, said: name, made } : { label: `α ${alpha}`, said: `alpha ${alpha}`, made };
}

async function refreshTotals() {
  const reply = await fetch(address("metrics"), { headers: keyHeader() }).catch(() => null);
  if (reply?.ok) totals = counted(await reply.text());
  redraw();
}

const redraw = () => draw($("chart"), $("figures").tBodies[0], points(members, totals));

// ---- the form

async function offerExamples() {
  const examples = await (await fetch(address("page/examples.json"))).json();
  for (const example of examples) {
    const option = document.createElement("option");
    option.value = example.id;
    option.textContent = example.title;
    $("example").append(option);
  }
  $("example").addEventListener("change", () => {
    fill(examples.find((one) => one.id === $("example").value) ?? { prompt: "", tests: { cases: [] } });
  });
  $("example").selectedIndex = 1;
  fill(examples[0]);
}

function fill({ prompt, tests }) {
  $("prompt").value = prompt;
  $("case-rows").replaceChildren();
  for (const { input, output } of tests.cases) addCase(input, output);
  if (!tests.cases.length) addCase("", "");
  $("tests-json").value = JSON.stringify({ kind: "stdio", cases: tests.cases }, null, 1);
  chooseKind("cases");
}

function addCase(input, output) {
  const number = $("case-rows").children.length + 1;
  const row = document.createElement("div");
  row.className = "case";
  for (const [what, value] of [["input", input], ["expected output", output]]) {
    const field = document.createElement("textarea");
    field.rows = 1;
    field.spellcheck = false;
    field.value = value.replace(/\n$/, "");
    field.rows = Math.min(4, field.value.split("\n").length);
    field.setAttribute("aria-label", `${what} of case ${number}`);
    row.append(field);
  }
  const drop = document.createElement("button");
  drop.type = "button";
  drop.className = "drop";
  drop.textContent = "×";
  drop.setAttribute("aria-label", `remove case ${number}`);
  drop.addEventListener("click", () => {
    row.remove();
    $("add-case").focus();
  });
  row.append(drop);
  $("case-rows").append(row);
  return row;
}

const chosenKind = () => document.querySelector("input[name=kind]:checked").value;

function chooseKind(kind) {
  document.querySelector(`input[name=kind][value=${kind}]`).checked = true;
  $("cases").hidden = kind !== "cases";
  $("json").hidden = kind !== "json";
}

function tests() {
  if (chosenKind() === "none") return undefined;
  if (chosenKind() === "json") {
    try {
      return JSON.parse($("tests-json").value);
    } catch (error) {
      throw new Refused(`the tests are not JSON: ${error.message}`);
    }
  }
  const cases = [...$("case-rows").children].map((row) => {
    const [input, output] = row.querySelectorAll("textarea");
    return { input: input.value, output: output.value };
  });
  if (!cases.length) throw new Refused("there is no test case; add one, or choose “none”");
  return { kind: "stdio", cases };
}

const number = (id) => ($(id).value === "" ? undefined : Number($(id).value));

function request() {
  const controls = {
    budget: number("budget"),
    stop_after_passes: number("passes"),
    time_limit_s: number("limit"),
    policy: $("policy").value || undefined,
    tests: tests(),
  };
  return {
    model,
    messages: [{ role: "user", content: $("prompt").value }],
    max_tokens: number("tokens"),
    seed: number("seed"),
    alpharay: controls,
  };
}

// ---- a request under way

async function run() {
  $("problem").textContent = "";
  const body = request();
  if (!board) await learnWhatIsServed();
  if (!board) throw new Refused($("served").textContent);
  body.model = model;
  board.clear();
  hideProgram();
  running = new AbortController();
  $("run").disabled = true;
  $("stop").disabled = false;
  const started = performance.now();
  const all = { ...body, alpharay: { ...body.alpharay, return: "all" } };
  try {
    const answer = await ask(address(CHAT), all, keyHeader(), running.signal, (step) => {
      board.step(step);
      if (step.state === "judged") add(totals, step.member, step.verdict);
      say(`${progress()} so far`);
      redraw();
    });
    finish(answer, (performance.now() - started) / 1000);
  } finally {
    running = null;
    $("run").disabled = false;
    $("stop").disabled = true;
    await refreshTotals();
  }
}

function finish(answer, seconds) {
  const best = board.texts(answer.choices);
  const { stopped, judge, usage } = answer.alpharay;
  const why = { passes: "enough passed", budget: "the budget is spent", deadline: "the time was up" }[stopped];
  const trouble = judge === "unavailable" ? " The judge was out of reach." : "";
  say(`${progress()}: ${why}, after ${seconds.toFixed(1)} s and ${usage.completion_tokens} tokens.${trouble}`, true);
  if (best) board.pick(best);
}

function progress() {
  const { drawn, judged, accepted } = board.counts();
  return `${drawn} drawn, ${judged} judged, ${accepted} accepted`;
}

// A screen reader would be flooded by every step: what it is told changes at most twice a second.
let lastSaid = 0;
function say(text, atOnce = false) {
  const now = performance.now();
  if (!atOnce && now - lastSaid < 500) return;
  lastSaid = now;
  $("status").textContent = text;
}

function showProgram(sample) {
  const origin = members.find((one) => one.id === sample.member)?.said;
  $("origin").textContent = `Sample ${sample.number + 1}, ${origin}: ${words(sample.verdict)}`;
  shown = program(sample.text);
  $("program").textContent = sample.text;
  $("program").hidden = $("copy-program").hidden = false;
}

function hideProgram() {
  $("origin").textContent = "";
  $("program").hidden = $("copy-program").hidden = true;
}

/** What the judge runs: the last fenced block, else all of it. */
function program(text) {
  return [...text.matchAll(/```[^\n]*\n([\s\S]*?)```/g)].at(-1)?.[1] ?? text;
}

async function copy(button, text) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // Without https or leave to use the clipboard: shown, to be copied by hand.
    $("origin").textContent = "The clipboard is out of reach here; copy it by hand:";
    $("program").textContent = text;
    $("program").hidden = false;
    $("program").focus();
  }
  setTimeout(() => (button.textContent = label), 1500);
}

const orSay = (work) => async (event) => {
  event?.preventDefault();
  try {
    await work(event);
  } catch (error) {
    if (error.name === "AbortError") say("Stopped.", true);
    else $("problem").textContent = error instanceof Refused ? error.message : `the request failed: ${error.message}`;
  }
};

$("request").addEventListener("submit", orSay(run));
$("stop").addEventListener("click", () => running?.abort());
$("add-case").addEventListener("click", () => addCase("", "").querySelector("textarea").focus());
for (const radio of document.querySelectorAll("input[name=kind]")) {
  radio.addEventListener("change", () => chooseKind(radio.value));
}
addEventListener("resize", redraw);
$("key").addEventListener("change", orSay(learnWhatIsServed));
$("copy-curl").addEventListener("click", orSay((event) => copy(event.target, curl(address(CHAT), request(), $("key").value !== ""))));
$("copy-program").addEventListener("click", orSay((event) => copy(event.target, shown)));

await orSay(async () => {
  await offerExamples();
  await learnWhatIsServed();
})();
