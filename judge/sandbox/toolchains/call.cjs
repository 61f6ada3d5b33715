// Calls a function of a program, case by case, and writes what it returns to a pipe, a line a case.
// Arguments: the program's file, the function's name, the number of the first case. Cases are lines of JSON in a file.
// The program shares this process and may change all of it: its answers are what it makes of them, and are compared
// elsewhere. What is used after it was loaded is kept here, so that a program that only changes its own world still answers.
"use strict";
const REPORT = 3;
const CASES = 5;
const LONG = 3300; // hexadecimal digits: of a longer integer Python does not read the decimal ones
const MOST_NESTED = 1000;
const CHUNK = 1 << 16;
const { readSync, writeSync } = require("node:fs");
const { pathToFileURL } = require("node:url");
const { isBoxedPrimitive, isMap, isPromise, isSet, isTypedArray } = require("node:util").types;
const { parse, stringify } = JSON;
const { isInteger, isSafeInteger } = Number;
const { isArray, from: listOf } = Array;
const { keys } = Object;
const { apply } = Reflect;
const bytesOf = Buffer.from;
const leave = process.reallyExit.bind(process);
const SCOPE = Symbol.for("alpharay.scope");

function report(text) {
  const bytes = bytesOf(text);
  for (let sent = 0; sent < bytes.length; ) sent += writeSync(REPORT, bytes, sent);
}

function* linesFrom(first) {
  const chunk = Buffer.alloc(CHUNK);
  let parts = [];
  for (let offset = 0, number = 0, read; (read = readSync(CASES, chunk, 0, CHUNK, offset)) > 0; offset += read) {
    let begin = 0;
    for (let end; (end = chunk.subarray(0, read).indexOf(10, begin)) >= 0; begin = end + 1) {
      if (number++ >= first) yield Buffer.concat([...parts, chunk.subarray(begin, end)]).toString();
      parts = [];
    }
    if (number >= first) parts.push(bytesOf(chunk.subarray(begin, read)));
  }
}

// A case is [arguments, [[path, text], …]]: what JSON or its reader cannot hold stands in the second list.
function argumentsOf(line) {
  const [values, special] = parse(line);
  for (const [path, text] of special) {
    const last = path.pop();
    let owner = values;
    for (const step of path) owner = owner[step];
    owner[last] = /\d/.test(text) ? BigInt(text) : Number(text);
  }
  return values;
}

class NoValue extends Error {}
class NeedsHexadecimal extends Error {}

function integer(value, wide) {
  const digits = value.toString(16);
  if (wide) return value < 0 ? `"i-0x${digits.slice(1)}"` : `"i0x${digits}"`;
  if (digits.length > LONG) throw new NeedsHexadecimal();
  return value.toString();
}

function number(value, wide) {
  if (!isInteger(value)) return String(value); // NaN and Infinity as Python reads them
  return wide || !isSafeInteger(value) ? integer(BigInt(value), wide) : String(value);
}

// As JSON, and beyond it: numbers that it has not, BigInt, Map as an object, Set and typed arrays as lists.
// wide: integers are `i` and hexadecimal digits, strings are `s` and the text.
function written(value, wide, above) {
  switch (typeof value) {
    case "undefined":
      return "null";
    case "boolean":
      return String(value);
    case "string":
      return stringify(wide ? `s${value}` : value);
    case "number":
      return number(value, wide);
    case "bigint":
      return integer(value, wide);
    case "object":
      break;
    default:
      throw new NoValue(`a ${typeof value}`);
  }
  if (value === null) return "null";
  if (isBoxedPrimitive(value)) return written(value.valueOf(), wide, above);
  if (isPromise(value)) throw new NoValue("a promise within the value");
  if (above.has(value)) throw new NoValue("a value that holds itself");
  if (above.size === MOST_NESTED) throw new NoValue(`a value nested deeper than ${MOST_NESTED} times`);
  above.add(value);
  let text;
  if (isArray(value) || isTypedArray(value) || isSet(value)) {
    let items = "";
    for (const item of isSet(value) ? value : listOf(value)) items += (items && ",") + written(item, wide, above);
    text = `[${items}]`;
  } else if (!isMap(value) && typeof value.toJSON === "function") {
    text = written(value.toJSON(), wide, above);
  } else {
    const entries = isMap(value) ? listOf(value, ([key, item]) => [keyOf(key), item]) : listOf(keys(value), (key) => [key, value[key]]);
    entries.sort((a, b) => (a[0] < b[0] ? -1 : 1));
    let fields = "";
    for (const [key, item] of entries) {
      if (item !== undefined) fields += `${fields && ","}${stringify(wide ? `s${key}` : key)}:${written(item, wide, above)}`;
    }
    text = `{${fields}}`;
  }
  above.delete(value);
  return text;
}

function keyOf(key) {
  if (key === null || ["string", "number", "bigint", "boolean"].includes(typeof key)) return String(key);
  throw new NoValue(`a Map whose keys are no text but ${key === undefined ? "undefined" : `of type ${typeof key}`}`);
}

function described(error) {
  return errorText(error).replaceAll(`${__dirname}/`, ""); // where it lies is nothing that helps its author
}

function errorText(error) {
  try {
    if (!(error instanceof Error)) return `it threw ${String(error).slice(0, 300)}`;
    const line = /program\.[cm]js:(\d+)/.exec(String(error.stack));
    return `${error.name}: ${String(error.message).slice(0, 300)}${line ? ` (line ${line[1]})` : ""}`;
  } catch {
    return "it threw an error that cannot be printed";
  }
}

function answer(value) {
  try {
    try {
      return `V${written(value, false, new Set())}`;
    } catch (error) {
      if (!(error instanceof NeedsHexadecimal)) throw error;
      return `H${written(value, true, new Set())}`;
    }
  } catch (error) {
    return `N${stringify(error instanceof NoValue ? error.message : described(error))}`;
  }
}

// What a promise comes to. One that nothing is left to settle is an error, where Node would end without a word.
let giveUp = null;
process.on("beforeExit", () => giveUp?.());
async function settled(promise) {
  try {
    return await new Promise((resolve, reject) => {
      giveUp = () => reject(new Error("the promise that it returned is never settled"));
      promise.then(resolve, reject);
    });
  } finally {
    giveUp = null;
  }
}

function refuse(why) {
  writeSync(2, `${why}\n`);
  leave(1);
}

// The function of that name: in the program's scope, exported, or a method of a class `Solution`.
function functionOf(entry, scope, exported, builtin) {
  const [first, ...rest] = entry.split(".");
  const named = (name) => {
    try {
      return scope?.(name);
    } catch {
      return undefined; // there is no such name
    }
  };
  let owner;
  let target = named(first);
  if (target === undefined || target === builtin) target = exported?.[first];
  if (target === Object.prototype[first]) target = undefined;
  if (target === undefined) {
    const Solution = named("Solution") ?? exported?.Solution;
    if (typeof Solution === "function") [owner, target] = member(Solution, first);
  }
  if (target === undefined) {
    const whole = typeof exported === "function" ? exported : exported?.default;
    if (typeof whole === "function" && (whole.name === "" || whole.name === "default")) target = whole;
  }
  if (target === undefined) refuse(`the program defines no '${first}'`);
  for (const name of rest) {
    if (target === null || target === undefined) break;
    [owner, target] = member(target, name);
  }
  if (typeof target !== "function") refuse(`'${entry}' is not a function but ${target === null ? "null" : typeof target}`);
  return [owner, target];
}

// Of a class: its own, else that of an instance.
function member(owner, name) {
  const instance = typeof owner === "function" && !(name in owner) ? new owner() : owner;
  return [instance, instance[name]];
}

async function main([program, entry, first]) {
  report("D");
  process.argv.splice(1, Infinity, program);
  const builtin = globalThis[entry.split(".")[0]];
  let scope = null;
  globalThis[SCOPE] = (look) => (scope = look);
  const exported = program.endsWith(".mjs") ? await import(pathToFileURL(program)) : require(program);
  delete globalThis[SCOPE];
  const [owner, called] = functionOf(entry, scope, exported, builtin);
  report("R");
  for (const line of linesFrom(Number(first))) {
    let text;
    try {
      let value = apply(called, owner, argumentsOf(line));
      const kind = typeof value;
      if (value && (kind === "object" || kind === "function") && typeof value.then === "function") value = await settled(value);
      text = answer(value);
    } catch (error) {
      text = `E${stringify(described(error))}`;
    }
    report(`${text}\n`);
  }
  leave(0);
}

main(process.argv.slice(2));
