"""Tests of kind `call` for JavaScript: how a function is found, what its values mean, and what a hostile program gains."""

import math
from dataclasses import replace

import pytest

from alpharay.judge import Limits, ProblemError, VerdictKind, parse_problem, parse_tests
from alpharay.judge.compile.compiling import Binary
from alpharay.judge.errors import LanguageUnavailable
from alpharay.judge.pool.job import Job
from alpharay.judge.pool.judging import judge
from alpharay.judge.sandbox.choice import start_layer
from alpharay.judge.sandbox.order import Ended, Order
from alpharay.judge.sandbox.toolchains import installed
from alpharay.judge.sandbox.toolchains.tools import Caller, Runtime, Toolchain
from alpharay.judge.verdicts import JudgeFault, failure_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

SHORT = Limits(cpu_s=0.4)  # whose hang guard is a little over a second
ENDED = Ended(
    ended="exit", code=0, phase="SR", cpu_s=0.0, wall_s=0.0, memory=0, marks=[], tests=None,
    stdout=b"", stderr=b"", answers=b"", sizes=(0, 0),
)  # fmt: skip
ADDED = [([1, 2], 3), ([2, 3], 5), ([2, 2], 4)]


@pytest.fixture
def call(pool):
    """call(source, cases): the verdict on a JavaScript program whose function `f` is called."""

    async def judged(source, cases=ADDED, *, language="javascript", entry="f", limits=None, **options):
        try:
            if language != "python":
                installed.find(language)
        except LanguageUnavailable as error:
            pytest.skip(str(error))
        tests = {"kind": "call", "entry_point": entry, **options}
        tests["cases"] = [{"args": args, "output": output} for args, output in cases]
        answer = f"```{language}\n{source}\n```"
        return await pool.judge(parse_tests(tests), answer, language=language, limits=limits)

    return judged


@pytest.mark.parametrize(
    "source",
    [
        "function f(a, b) { return a + b; }",
        "const f = (a, b) => a + b;",
        "var f = function(a, b) { return a + b; };",
        "exports.f = (a, b) => a + b;",
        "module.exports = { f(a, b) { return a + b; } };",
        "module.exports = (a, b) => a + b;",
        "globalThis.f = (a, b) => a + b;",
        "class Solution { f(a, b) { return this.add(a, b); } add(a, b) { return a + b; } }",
        "async function f(a, b) { await new Promise((go) => setTimeout(go, 1)); return a + b; }",
        "export function f(a, b) { return a + b; }",
        "export default function (a, b) { return a + b; }",
        "import fs from 'node:fs';\nconst f = (a, b) => a + b;",
        "const g = (a, b) => a + b;\nexport { g as f };",
        "const base = await Promise.resolve(0);\nconst f = (a, b) => base + a + b;",
        "function f(a, b) { return a + b; }\nif (require.main === module) process.exit(1);",
        "const f = (a, b) => a + b; // the end",
    ],
)
async def test_a_function_is_found_however_it_is_defined(call, source):
    verdict = await call(source)
    assert (verdict.verdict, verdict.passed) == (VerdictKind.ACCEPTED, 3), verdict


@pytest.mark.parametrize("entry", ["Tools.add", "tools.add", "Static.add"])
async def test_a_method_is_called_by_its_dotted_name(call, entry):
    source = """class Tools { constructor() { this.zero = 0; } add(a, b) { return this.zero + a + b; } }
    class Static { static add(a, b) { return a + b; } }
    const tools = new Tools();"""
    assert (await call(source, entry=entry)).accepted


async def test_typescript_functions_are_called(call):
    assert (
        await call("function f(a: number, b: number): number { return a + b; }", language="typescript")
    ).accepted


INFINITY = math.inf
SAME = [
    ("x => x", [1, 2.5, "é\n\ud800", None, True, {"b": [1], "a": {}}], [1, 2.5, "é\n\ud800", None, True, {"a": {}, "b": [1]}]),
    ("x => x", [math.nan, INFINITY, -INFINITY], [math.nan, INFINITY, -INFINITY]),
    ("x => x", 10**30, 10**30),  # a BigInt
    ("x => [typeof x[0].n, typeof x[1]]", [{"n": 2**53}, 2**53 - 1], ["bigint", "number"]),
    ("x => x", "NaN 1234567890123456", "NaN 1234567890123456"),
    ("x => x", 1, 1.0),
    ("x => x / 2", 3.0, 1.5),
    ("x => -0", 0, 0),
    ("x => 2 ** 60", 0, 2**60),
    ("x => 1e300", 0, 1e300),
    ("x => 7n", 0, 7),
    ("x => undefined", 0, None),
    ("x => [undefined, , 1]", 0, [None, None, 1]),
    ("x => ({ a: 1, b: undefined })", 0, {"a": 1}),
    ("x => new Map([[1, 'a'], ['b', new Set([2, 1])]])", 0, {"1": "a", "b": [2, 1]}),
    ("x => [new Int32Array([1, 2]), new Float64Array([0.5]), Buffer.from('a')]", 0, [[1, 2], [0.5], [97]]),
    ("x => new Date(0)", 0, "1970-01-01T00:00:00.000Z"),
    ("x => [new Number(1), new String('a'), new Boolean(false)]", 0, [1, "a", False]),
    ("x => { let r = 1n; for (let i = 1n; i <= 2000n; i++) r *= i; return [r, 'i', -2, 0.5, { a: -r }]; }", 0,
     [math.factorial(2000), "i", -2, 0.5, {"a": -math.factorial(2000)}]),
]  # fmt: skip
OTHER = [
    ("x => 1", 0, True),
    ("x => true", 0, 1),
    ("x => '1'", 0, 1),
    ("x => null", 0, 0),
    ("x => ({ b: undefined })", 0, {"b": None}),
    ("x => new Set([1, 2])", 0, [2, 1]),
    ("x => 2 ** 53", 0, 2**53 + 1),
    ("x => [1, 2]", 0, {"0": 1, "1": 2}),
]


@pytest.mark.parametrize(("function", "argument", "expected"), SAME)
async def test_values_that_are_the_same(call, function, argument, expected):
    verdict = await call(f"const f = {function};", [([argument], expected)])
    assert verdict.accepted, verdict


@pytest.mark.parametrize(("function", "argument", "expected"), OTHER)
async def test_values_that_are_not_the_same(call, function, argument, expected):
    verdict = await call(f"const f = {function};", [([argument], expected)])
    assert verdict.verdict is VerdictKind.WRONG_ANSWER, verdict


async def test_numbers_may_differ_by_the_tolerance(call):
    case = [([], [0.3, 2])]
    source = "const f = () => [0.1 + 0.2, 2.0000001];"
    assert (await call(source, case)).verdict is VerdictKind.WRONG_ANSWER
    assert (await call(source, case, float_tolerance=1e-6)).accepted


@pytest.mark.parametrize(
    ("value", "description"),
    [
        ("() => 1", "a function"),
        ("[Symbol()]", "a symbol"),
        ("[Promise.resolve(1)]", "a promise within the value"),
        ("(() => { const a = []; a.push(a); return a; })()", "a value that holds itself"),
        ("new Map([[{}, 1]])", "a Map whose keys are no text but of type object"),
        (
            "(() => { let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return a; })()",
            "a value nested deeper",
        ),
        ("{ toJSON() { throw new Error('no'); } }", "Error: no"),
    ],
)
async def test_a_result_that_is_no_value_says_what_it_is(call, value, description):
    verdict = await call(f"const f = () => ({value});")
    assert verdict.verdict is VerdictKind.WRONG_ANSWER
    assert f"returned what is no JSON value: {description}" in verdict.detail


@pytest.mark.parametrize(
    ("source", "verdict", "detail"),
    [
        ("const g = 1;", "runtime_error", "the program defines no 'f'"),
        ("const f = 1;", "runtime_error", "'f' is not a function but number"),
        ("function f( {", "compile_error", "SyntaxError"),
        ("throw new Error('while it was loaded');\nconst f = 1;", "runtime_error", "Error: while it was loaded"),
        ("function f(a, b) {\n  return a.b.c;\n}", "runtime_error", "TypeError: Cannot read properties of undefined (reading 'c') (line 2)"),
        ("function f() { throw 'text'; }", "runtime_error", "it threw text"),
        ("const f = () => require('./nothing');", "runtime_error", "Error: Cannot find module './nothing'\nRequire stack:\n- program.cjs"),
        ("async function f() { throw new RangeError('late'); }", "runtime_error", "RangeError: late"),
        ("const f = () => new Promise(() => {});", "runtime_error", "the promise that it returned is never settled"),
        ("const f = () => f();", "runtime_error", "RangeError: Maximum call stack size exceeded"),
        ("const f = () => process.exit(0);", "runtime_error", "the program ended before it answered"),
        ("process.exit(0);", "runtime_error", "the program ended before it answered"),
        ("const f = () => { setTimeout(() => { throw new Error('alone'); }); return new Promise(() => {}); };", "runtime_error", "Error: alone"),
        ("const f = () => { for (;;); };", "time_limit", "CPU time"),
        ("const f = () => new Promise((go) => setTimeout(go, 1e6));", "time_limit", "it hung"),
        ("const f = () => { const a = []; for (;;) a.push(new Array(1e5).fill(1.5)); };", "memory_limit", ""),
        ("const f = () => { for (;;) console.log('noise'.repeat(1000)); };", "output_limit", ""),
        ("const f = () => 'x'.repeat(1 << 22);", "output_limit", ""),
        ("const f = () => require('fs').readFileSync('/etc/passwd', 'utf8');", ("security_violation", "runtime_error"), ""),
    ],
)  # fmt: skip
async def test_what_goes_wrong_is_said(call, source, verdict, detail):
    got = await call(source, limits=Limits(cpu_s=0.4, memory_mb=128))
    assert got.verdict in verdict, got
    assert got.passed == 0
    assert detail in got.detail


@pytest.mark.parametrize("name", ["parseInt", "toString", "delete"])
async def test_a_name_of_the_language_itself_is_not_the_programs(call, name):
    verdict = await call("const other = 1;", [(["1"], 1)], entry=name)
    assert f"the program defines no '{name}'" in verdict.detail


async def test_a_name_of_the_language_itself_may_be_given_anew(call):
    assert (await call("function toString(a, b) { return a + b; }", entry="toString")).accepted


async def test_cases_after_one_that_fails_are_called(call):
    source = (
        "function f(a, b) { if (a === 1) throw new Error('x'); if (b === 3) process.exit(0); return a + b; }"
    )
    verdict = await call(source)
    assert (verdict.verdict, verdict.passed, verdict.failed_case) == (VerdictKind.RUNTIME_ERROR, 1, 0)


async def test_what_a_program_prints_and_what_it_leaves_running_is_no_answer(call):
    source = """setInterval(() => {}, 1000);
    process.on("exit", () => { for (;;); });
    function f(a, b) { console.log("V3"); console.error("V3"); return a + b; }"""
    verdict = await call(source, limits=SHORT)
    assert (verdict.verdict, verdict.passed) == (VerdictKind.ACCEPTED, 3), verdict


HOSTILE = {
    "forged answers before any call": 'require("fs").writeSync(3, "V0\\nV0\\nV0\\n"); const f = () => 0;',
    "forged answers and the end": 'const f = () => { require("fs").writeSync(3, "V0\\nV0\\nV0\\n"); process.reallyExit(0); };',
    "the report is closed": 'require("fs").closeSync(3); const f = (a, b) => a + b;',
    "it says that it could not be started": 'require("fs").writeSync(3, "M"); process.reallyExit(1);',
    "it says so before it fails": 'require("fs").writeSync(3, "FMSLRC"); process.reallyExit(1);',
    "more answers than cases": 'const f = () => { for (let i = 0; i < 99; i++) require("fs").writeSync(3, "V3\\n"); return 0; };',
    "JSON and prototypes are its own": """JSON.stringify = () => "3";
        Object.prototype.toJSON = () => 3; String.prototype.toString = Number.prototype.toString = () => "3";
        Array.prototype.push = Array.prototype.map = () => 3; Object.defineProperty(Object.prototype, "value", { value: 3 });
        const f = () => ({});""",
    "an answer equal to all": "const f = () => new Proxy({}, { get: () => () => 3, ownKeys: () => ['length'] });",
    "expected values in its memory": """const f = () => { const seen = [process.argv, process.env, require.main, module.children];
        const text = require("util").inspect(seen, { depth: 9 }); const found = /4242(\\d)/.exec(text); return found && +found[1]; };""",
    "cases rewritten": 'try { require("fs").writeSync(5, "[[0,0],[]]\\n"); } catch {} const f = () => 0;',
    "other processes": "const f = (a, b) => require('child_process').spawnSync('true').error ? -1 : a + b;",
    "a file beside its own": "const f = () => { require('fs').writeFileSync(__dirname + '/call.cjs', ''); return 3; };",
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_program_is_neither_accepted_nor_our_fault(call, source):
    verdict = await call(source, [([1, 2], 42421), ([2, 3], 42422), ([2, 2], 42423)], limits=SHORT)
    assert verdict.verdict is not VerdictKind.JUDGE_ERROR, verdict
    assert verdict.passed == 0, verdict
    assert "4242" not in verdict.detail


async def test_a_program_that_spoils_its_own_world_still_answers(call):
    source = """JSON.stringify = JSON.parse = () => { throw 1; };
    Array.isArray = Object.keys = Number.isInteger = Reflect.apply = Buffer.from = () => { throw 2; };
    require("fs").writeSync = require("fs").readSync = process.reallyExit = process.exit = () => { throw 3; };
    function f(a, b) { return a + b; }"""
    assert (await call(source)).accepted


@pytest.mark.parametrize("language", ["javascript", "typescript"])
async def test_arguments_by_name_are_refused_for_a_language_that_has_none(language):
    case = {"args": [1], "kwargs": {"b": 2}, "output": 3}
    tests = {"kind": "call", "entry_point": "f", "cases": [{"args": [1], "output": 1}, case]}
    with pytest.raises(
        ProblemError, match=rf"tests\.cases\[1\]\.kwargs: {language} has no arguments by name"
    ):
        parse_problem({"id": "a", "prompt": "", "tests": tests, "language": language})


ITS_LIMIT = {
    "python": "import resource\ndef f():\n    return resource.getrlimit(resource.RLIMIT_CPU)[0] >= 50 * 0.4",
    "javascript": "const f = () => process.report.getReport().userLimits.cpu_time_seconds.soft >= 50 * 0.4;",
}


@pytest.mark.parametrize(("language", "source"), ITS_LIMIT.items(), ids=ITS_LIMIT.keys())
async def test_cases_may_together_take_much_longer_than_one(call, language, source):
    """The kernel's own limit holds for the process, of which there is one for all cases."""
    verdict = await call(source, [([], True)] * 50, language=language, limits=SHORT)
    assert verdict.accepted, verdict


@pytest.mark.parametrize(
    ("phase", "stderr", "verdict"),
    [
        ("SL", b"node: cannot load its data", VerdictKind.JUDGE_ERROR),
        ("SL", b"FATAL ERROR: invalid size, JavaScript heap out of memory", VerdictKind.MEMORY_LIMIT),
        ("SLD", b"Error: while it was loaded", VerdictKind.RUNTIME_ERROR),
    ],
)
async def test_a_runtime_that_ends_before_it_reads_the_program_is_no_fault_of_the_programs(
    monkeypatch, phase, stderr, verdict
):
    class Ends:
        async def run(self, _):
            return replace(ENDED, phase=phase, code=1, stderr=stderr)

    class Compiled:
        async def get(self, *_):
            return Binary(b"", "javascript", "program.cjs")

    runtime = Runtime(path="node", argv=("node",), read=())
    caller = Caller(file="call.cjs", text="", ending="")
    toolchain = Toolchain(version="", tools={}, read=(), runtime=runtime, caller=caller)
    monkeypatch.setattr(installed, "find", lambda _: toolchain)
    tests = parse_tests({"kind": "call", "entry_point": "f", "cases": [{"args": [], "output": 1}]})
    job = Job(tests=tests, completion="```js\nf\n```", limits=SHORT, language="javascript")
    assert (await judge(Ends(), job, Compiled())).verdict is verdict


async def test_a_runtime_that_cannot_be_executed_is_no_fault_of_the_programs(monkeypatch, tmp_path):
    broken = tmp_path / "node"
    broken.write_text("not a program")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    runtime = Runtime(path=str(broken), argv=(str(broken),), read=(str(broken),))
    toolchain = Toolchain(version="", tools={}, read=(str(broken),), runtime=runtime)
    monkeypatch.setattr(installed, "present", lambda: {"javascript": toolchain})
    worker = await start_layer("full")
    try:
        binary = (tmp_path / "program").open("wb+")
        with binary:
            order = Order(
                mode="native", program=b"", input=b"", limits=SHORT, binary=binary.fileno(),
                language="javascript", launch=(str(broken), "{folder}/program.cjs"), file="program.cjs",
            )  # fmt: skip
            ended = await worker.run(order)
    finally:
        worker.close()
    with pytest.raises(JudgeFault, match="the runtime of its language cannot be started: Permission denied"):
        failure_of(ended, ended.cpu_s, SHORT)
