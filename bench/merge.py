"""alpharay merge against mergekit and against the disk, side by side, on synthetic Llama-shaped pairs.

    python bench/merge.py --size 1e9 --outputs 1 3 6 --rounds 5 --mergekit /path/to/mergekit-yaml

Runs take turns (alpharay, mergekit by each of --methods, dd, alpharay, ...), because a busy machine drifts. For mergekit one
output is one run of mergekit-yaml, as it writes one model at a time; "in one process" calls its Python API, `run_merge`, for
all outputs, so that start and imports are paid once. dd reads both inputs and writes as many bytes as the
outputs have, with an fsync, as the merge does. CPU is user + system seconds of the process and its
children; memory is the peak of anonymous memory (RssAnon), sampled every 20 ms; file pages are not
counted, as they can be dropped. Figures include the start of Python and all imports.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results"
WARM, COLD = "in the page cache", "on the disk"
ALPHAS = [1.5, -0.5, 0.3, 0.7, 1.25, 2.0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One run: seconds on the clock, seconds of CPU, peak anonymous bytes."""

    wall: float
    cpu: float
    memory: int


def llama_shapes(parameters: float) -> dict[str, tuple[int, ...]]:
    """Tensors of a Llama-like model of about this many parameters, vocabulary 32000."""
    hidden = 256
    while 24 * 12 * hidden**2 + 2 * 32000 * hidden < parameters:
        hidden += 128
    inner = hidden * 11 // 4 // 128 * 128
    layer = 2 * hidden * hidden + 2 * hidden * hidden // 4 + 3 * hidden * inner + 2 * hidden
    layers = max(1, round((parameters - 2 * 32000 * hidden) / layer))
    shapes = {"model.embed_tokens.weight": (32000, hidden)}
    for i in range(layers):
        prefix = f"model.layers.{i}."
        shapes |= {
            prefix + "input_layernorm.weight": (hidden,),
            prefix + "mlp.down_proj.weight": (hidden, inner),
            prefix + "mlp.gate_proj.weight": (inner, hidden),
            prefix + "mlp.up_proj.weight": (inner, hidden),
            prefix + "post_attention_layernorm.weight": (hidden,),
            prefix + "self_attn.k_proj.weight": (hidden // 4, hidden),
            prefix + "self_attn.o_proj.weight": (hidden, hidden),
            prefix + "self_attn.q_proj.weight": (hidden, hidden),
            prefix + "self_attn.v_proj.weight": (hidden // 4, hidden),
        }
    return shapes | {"lm_head.weight": (32000, hidden), "model.norm.weight": (hidden,)}


def write_pair(folder: Path, parameters: float) -> int:
    """Writes folder/low and folder/high in bfloat16, one file each; gives their number of parameters.

    Weights of 0.02 with a delta of 3e-4, as supervised fine-tuning leaves it.
    """
    shapes = llama_shapes(parameters)
    header, position = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape)) * 2
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [position, position + size]}
        position += size
    raw = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    raw += b" " * (-len(raw) % 8)
    hidden = shapes["model.norm.weight"][0]
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
        "intermediate_size": shapes["model.layers.0.mlp.up_proj.weight"][0],
        "num_hidden_layers": sum(name.endswith("q_proj.weight") for name in shapes),
        "num_attention_heads": hidden // 64, "num_key_value_heads": hidden // 256, "head_dim": 64,
        "vocab_size": 32000, "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "hidden_act": "silu", "max_position_embeddings": 2048, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    random = np.random.default_rng(0)
    for side in ("low", "high"):
        (folder / side).mkdir(parents=True)
        (folder / side / "config.json").write_text(json.dumps(config, indent=2))
    with (
        (folder / "low" / "model.safetensors").open("wb") as low,
        (folder / "high" / "model.safetensors").open("wb") as high,
    ):
        for file in (low, high):
            file.write(len(raw).to_bytes(8, "little") + raw)
        for start in range(0, position // 2, 1 << 22):
            count = min(1 << 22, position // 2 - start)
            weight = random.standard_normal(count, np.float32) * np.float32(0.02)
            moved = weight + random.standard_normal(count, np.float32) * np.float32(3e-4)
            for file, values in ((low, weight), (high, moved)):
                file.write((values.view(np.uint32) >> 16).astype(np.uint16).data)
    return position // 2


def measure(command: list[str | Path]) -> Cost:
    """Runs a command to its end."""
    before = os.times()
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = 0
    done = threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(0.02):
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                return
            for line in status.splitlines():
                if line.startswith("RssAnon:"):
                    peak = max(peak, int(line.split()[1]) * 1024)

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, errors = process.communicate()
    done.set()
    watcher.join()
    wall = time.perf_counter() - start
    after = os.times()
    if process.returncode:
        raise SystemExit(f"{command} failed:\n{errors.decode()[-3000:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(wall=wall, cpu=cpu, memory=peak)


def evict(folder: Path) -> None:
    """Drops both inputs from the page cache, so that the next run reads the disk."""
    for side in ("low", "high"):
        with (folder / side / "model.safetensors").open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def add(costs: list[Cost]) -> Cost:
    """Runs one after the other."""
    return Cost(
        wall=sum(cost.wall for cost in costs),
        cpu=sum(cost.cpu for cost in costs),
        memory=max(cost.memory for cost in costs),
    )


def run_alpharay(program: list[str], folder: Path, outputs: int) -> Cost:
    out = folder / "out-alpharay"
    shutil.rmtree(out, ignore_errors=True)
    alphas = [f"--alpha={alpha}" for alpha in ALPHAS[:outputs]]
    return measure([*program, folder / "low", folder / "high", *alphas, "--out", out])


def linear_recipe(folder: Path, alpha: float) -> str:
    """mergekit's `linear` at one alpha."""
    low = f"{{model: {folder}/low, parameters: {{weight: {1 - alpha}}}}}"
    high = f"{{model: {folder}/high, parameters: {{weight: {alpha}}}}}"
    return (
        f"merge_method: linear\ndtype: bfloat16\nmodels: [{low}, {high}]\nparameters: {{normalize: false}}\n"
    )


# What mergekit-yaml does with its defaults, for several outputs.
RUN_MERGE = """
import sys, yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
for number, recipe in enumerate(sys.argv[2:]):
    run_merge(MergeConfiguration.model_validate(yaml.safe_load(recipe)), f"{sys.argv[1]}/{number}", MergeOptions())
"""


def run_mergekit_once(program: Path, folder: Path, outputs: int) -> Cost:
    """`linear` by mergekit's Python API, all outputs in one process."""
    out = folder / "out-mergekit"
    shutil.rmtree(out, ignore_errors=True)
    recipes = [linear_recipe(folder, alpha) for alpha in ALPHAS[:outputs]]
    cost = measure([program.parent / "python", "-c", RUN_MERGE, out, *recipes])
    shutil.rmtree(out)
    return cost


def run_mergekit(program: Path, method: str, folder: Path, outputs: int) -> Cost:
    """method: `linear`, its quickest, or `task_arithmetic`; with a base and one model both are points of the line."""
    costs = []
    for alpha in ALPHAS[:outputs]:
        out = folder / "out-mergekit"
        shutil.rmtree(out, ignore_errors=True)
        recipe = folder / "mergekit.yaml"
        high = f"{{model: {folder}/high, parameters: {{weight: {alpha}}}}}"
        recipe.write_text(
            linear_recipe(folder, alpha)
            if method == "linear"
            else f"merge_method: {method}\ndtype: bfloat16\nbase_model: {folder}/low\nmodels: [{high}]\n"
            "parameters: {normalize: false}\n"
        )
        costs.append(measure([program, recipe, out]))
    return add(costs)


def run_dd(folder: Path, outputs: int) -> Cost:
    """Reads both inputs once and writes `outputs` copies, which no merge can do without."""
    out = folder / "out-dd"
    low, high = folder / "low" / "model.safetensors", folder / "high" / "model.safetensors"
    costs = [measure(["dd", f"if={high}", "of=/dev/null", "bs=4M"])]
    for _ in range(outputs):
        out.unlink(missing_ok=True)
        costs.append(measure(["dd", f"if={low}", f"of={out}", "bs=4M", "conv=fsync"]))
    out.unlink()
    return add(costs)


def median(costs: list[Cost]) -> Cost:
    return Cost(
        wall=statistics.median(cost.wall for cost in costs),
        cpu=statistics.median(cost.cpu for cost in costs),
        memory=int(statistics.median(cost.memory for cost in costs)),
    )


def machine() -> str:
    """The machine in one line."""
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in info.splitlines() if "model name" in line), "?")
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return (
        f"{os.cpu_count()} cores {model}, {pages / 2**30:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the start"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=float, default=1e9, help="bytes per checkpoint; default 1e9")
    parser.add_argument("--outputs", type=int, nargs="+", default=[1, 3, 6])
    parser.add_argument("--rounds", type=int, default=5, help="runs of every contender")
    parser.add_argument("--mergekit", type=Path, help="its mergekit-yaml program; left out without")
    parser.add_argument("--methods", nargs="*", default=["linear", "task_arithmetic"], help="of mergekit")
    parser.add_argument("--alpharay", default=f"{Path(sys.executable).parent / 'alpharay'} merge")
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary directory")
    parser.add_argument("--cold", action="store_true", help="every run reads its inputs from the disk")
    parser.add_argument("--save", action="store_true", help="write bench/results/merge[-cold].{md,json,png}")
    arguments = parser.parse_args()
    description = machine()
    where = COLD if arguments.cold else WARM
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        parameters = write_pair(folder, arguments.size / 2)
        for side in ("low", "high"):  # what is not on the disk yet cannot be dropped from the cache
            with (folder / side / "model.safetensors").open("rb") as file:
                os.fsync(file.fileno())
        contenders = {"alpharay": lambda k: run_alpharay(arguments.alpharay.split(), folder, k)}
        if arguments.mergekit:
            for method in arguments.methods:
                contenders[f"mergekit, {method}"] = partial(run_mergekit, arguments.mergekit, method, folder)
            contenders["mergekit, linear, in one process"] = partial(
                run_mergekit_once, arguments.mergekit, folder
            )
        contenders["dd"] = lambda k: run_dd(folder, k)
        run_dd(folder, 1)  # into the page cache, for everyone alike
        costs = {(name, k): [] for k in arguments.outputs for name in contenders}
        for _ in range(arguments.rounds):
            for k in arguments.outputs:
                for name, contender in contenders.items():
                    if arguments.cold:
                        evict(folder)
                    costs[name, k].append(contender(k))
            # After every round, so that a bench that is stopped early still has said something.
            (save if arguments.save else report)(costs, parameters, description, where)


def report(costs, parameters: int, description: str, where: str) -> str:
    """Prints and gives the table."""
    rounds = min(map(len, costs.values()))
    lines = [
        f"{parameters / 1e6:.0f} M parameters, {parameters * 2 / 1e9:.2f} GB per checkpoint (bfloat16);",
        f"median of {rounds} alternating rounds, inputs {where}.",
        f"{description}.",
        "",
        "| outputs | program | wall s | CPU s | anonymous MB | wall ratio | CPU ratio |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (name, k), runs in costs.items():
        cost, ours = median(runs), costs["alpharay", k]
        wall = statistics.median(run.wall / own.wall for run, own in zip(runs, ours, strict=True))
        cpu = statistics.median(run.cpu / own.cpu for run, own in zip(runs, ours, strict=True))
        lines.append(
            f"| {k} | {name} | {cost.wall:.2f} | {cost.cpu:.2f} | {cost.memory / 1e6:.0f} | "
            f"{wall:.2f} | {cpu:.2f} |"
        )
    table = "\n".join(lines)
    print(table, flush=True)
    return table


def save(costs, parameters: int, description: str, where: str) -> None:
    """Writes the table, every single run and the figure."""
    RESULTS.mkdir(exist_ok=True)
    table = report(costs, parameters, description, where)
    name = "merge-cold" if where == COLD else "merge"
    (RESULTS / f"{name}.md").write_text(f"# alpharay merge, mergekit and dd\n\n{table}\n")
    raw = {
        f"{name} {k}": [[run.wall, run.cpu, run.memory] for run in runs] for (name, k), runs in costs.items()
    }
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": description, "runs": raw}, indent=1) + "\n")
    draw(costs, RESULTS / f"{name}.png")


def draw(costs, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(name for name, _ in costs))
    outputs = sorted({k for _, k in costs})
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    for axis, (attribute, label, unit) in zip(
        axes,
        (("wall", "wall (s)", 1), ("cpu", "CPU (s)", 1), ("memory", "anonymous memory (MB)", 1e6)),
        strict=True,
    ):
        for i, name in enumerate(names):
            values = [getattr(median(costs[name, k]), attribute) / unit for k in outputs]
            places = np.arange(len(outputs)) + (i - len(names) / 2 + 0.5) * 0.26
            bars = axis.bar(places, values, 0.24, label=name)
            axis.bar_label(bars, fmt="%.3g", fontsize=7)
        axis.set(yscale="log", ylabel=label, xlabel="checkpoints written", xticks=range(len(outputs)))
        axis.set_xticklabels(outputs)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
