// Reads a program from standard input and prints it as Node is to run it: `cjs` or `mjs` and a line break, then the text.
// The argument `typescript` takes its types away first. Exit code 1: it does not compile, and why is on standard error.
"use strict";
const vm = require("node:vm");
const NAME = process.argv[1] === "typescript" ? "program.ts" : "program.js";
const OF_A_MODULE = /import statement|import\.meta|token 'export'|await is only valid|token 'import'|Unexpected reserved word/;

function refuse(error) {
  const text = String((error && error.stack) || error);
  process.stderr.write(text.split("\n    at ")[0] + "\n");
  process.exit(1);
}

let source = require("node:fs").readFileSync(0, "utf8").replace(/^\uFEFF/, "");
if (process.argv[1] === "typescript") {
  const { stripTypeScriptTypes } = require("node:module");
  try {
    try {
      source = stripTypeScriptTypes(source, { mode: "transform" });
    } catch (error) {
      if (error.code !== "ERR_INVALID_ARG_VALUE") throw error;
      source = stripTypeScriptTypes(source); // a Node that no longer transforms
    }
  } catch (error) {
    refuse(new SyntaxError(`${NAME}: ${error.message}`));
  }
}
const shebang = source.startsWith("#!") ? "//" : "";
let kind = "cjs";
try {
  vm.compileFunction(shebang + source, ["exports", "require", "module", "__filename", "__dirname"], { filename: NAME });
} catch (error) {
  try {
    new vm.SourceTextModule(shebang + source, { identifier: NAME });
    kind = "mjs";
  } catch (other) {
    refuse(OF_A_MODULE.test(error.message) ? other : error);
  }
}
require("node:fs").writeSync(1, `${kind}\n`);
const bytes = Buffer.from(source);
for (let sent = 0; sent < bytes.length; ) sent += require("node:fs").writeSync(1, bytes, sent);
