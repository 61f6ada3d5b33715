"""What an engine that moves makes of its checkpoints: the bits of a written merge."""

from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest

from alpharay.merge.checkpoints.delta import is_delta
from alpharay.merge.compute.plan import read_settings
from alpharay.merge.compute.span import line_weights, plan_point, plan_span
from alpharay.merge.compute.theta import weights
from alpharay.merge.diff import write_delta
from alpharay.merge.errors import InputChanged, IntegerMismatch, NonFinite, OverflowedOutput, UsageError
from alpharay.merge.rounding import BLOCK
from alpharay.merge.write.run import run_plan

torch = pytest.importorskip("torch")
held = pytest.importorskip("alpharay.merge.engine.held")

CPU = torch.device("cpu")
PLANE = {
    "inside": {"init": 0.2, "low": 0.3, "high": 0.5},
    "beyond": {"init": 0.75, "low": -0.25, "high": 0.5},
    "far": {"init": -1.5, "low": 0.5, "high": 2.0},
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads of PyTorch's that spin beside a busy neighbour take minutes for what takes one a second."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def span(checkpoints, **settings):
    return held.HeldSpan(checkpoints, read_settings(**settings), CPU)


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def theta(opened, point):
    return {name: bits(tensor) for name, tensor in opened.theta(point)}


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
def test_three_points_of_a_plane_have_the_bits_of_the_written_merge(frontier, tmp_path, load, dtype):
    low, high = frontier
    checkpoints = {"init": low.parent / "init", "low": low, "high": high}
    plan = plan_span(checkpoints=checkpoints, outputs=PLANE, settings=read_settings(dtype=dtype))
    written = {output.name: load(output.path) for output in run_plan(plan, tmp_path / "out").outputs}
    opened = span(checkpoints, dtype=dtype)
    for name, point in PLANE.items():
        assert theta(opened, point) == {n: value.tobytes() for n, value in written[name].items()}


@pytest.fixture
def odd(tmp_path, save):
    """Three checkpoints with what rounds oddly: zeros of both signs, subnormal numbers, blocks in which nothing differs."""
    random, names = np.random.default_rng(5), ("init", "low", "high")
    base = random.standard_normal((3, BLOCK + 5)).astype(np.float32)
    base[0, :9] = [0.0, -0.0, 1e-40, -1e-40, 6e-8, -6e-8, 3e-5, 1.0, -1.0]
    folders = {}
    for number, name in enumerate(names):
        moved = base.copy()
        # The first block and the last elements are the same everywhere.
        moved[1] += number * 1e-3 * random.standard_normal(BLOCK + 5).astype(np.float32)
        signs = np.array([0.0, -0.0, -0.0, 0.0][number:] + [1.0] * 60, np.float32)
        tensors = {
            "a.mask": np.arange(7, dtype=np.uint8),  # what follows is not aligned to its own size
            "b.moved": moved,
            "c.same": -np.abs(base) * 0.0,
            "d.signs": signs[:60],
            "e.single": moved[1, :11].astype(ml_dtypes.bfloat16),
            "f.empty": np.zeros((0, 4), np.float32),
        }
        folders[name] = save(tmp_path / name, tensors)
    return folders


@pytest.mark.parametrize("dtype", [None, "bf16", "fp16", "fp32"])
@pytest.mark.parametrize(
    "point", [*PLANE.values(), line_weights(0), line_weights(1), line_weights(1.5), {"init": 1.0}]
)
def test_what_rounds_oddly_rounds_as_in_a_merge(odd, dtype, point):
    plan = plan_point(checkpoints=odd, weights=point, settings=read_settings(dtype=dtype))
    expected = {weight.name: weight.data.tobytes() for weight in weights(plan)}
    assert theta(span(odd, dtype=dtype), point) == expected


def test_a_sparse_delta_stands_for_what_it_leads_to(endpoints, tmp_path):
    low, high = endpoints
    write_delta(low=low, high=high, out=tmp_path / "high.delta")
    assert is_delta(tmp_path / "high.delta")
    whole, sparse = span({"low": low, "high": high}), span({"low": low, "high": tmp_path / "high.delta"})
    assert theta(sparse, line_weights(1.5)) == theta(whole, line_weights(1.5))


def test_a_checkpoint_with_nan_is_named_wherever_the_point_lies(tmp_path, save):
    low = save(tmp_path / "low", {"a": np.ones(4, np.float32)})
    high = save(tmp_path / "high", {"a": np.array([1, 2, np.nan, 4], np.float32)})
    opened = span({"low": low, "high": high})
    for alpha in (0.0, 0.5):
        with pytest.raises(NonFinite, match=rf"a in {high}.* NaN"):
            theta(opened, line_weights(alpha))


def test_a_point_that_does_not_fit_its_dtype_is_refused(tmp_path, save):
    low = save(tmp_path / "low", {"a": np.zeros(4, np.float32)})
    high = save(tmp_path / "high", {"a": np.full(4, 6e4, np.float32)})
    with pytest.raises(OverflowedOutput, match=r"a reaches more than fp16 can hold"):
        theta(span({"low": low, "high": high}, dtype="fp16"), line_weights(2.0))


def test_integers_that_differ_have_no_point_between_them(tmp_path, save):
    low = save(tmp_path / "low", {"ids": np.arange(4)})
    high = save(tmp_path / "high", {"ids": np.arange(4) + 1})
    with pytest.raises(IntegerMismatch, match="ids is I64 and differs"):
        theta(span({"low": low, "high": high}), line_weights(0.5))


def test_files_that_change_under_an_engine_are_refused(endpoints, save, tensors):
    low, high = endpoints
    opened = span({"low": low, "high": high})
    (high / "model.safetensors").unlink()
    with pytest.raises(
        InputChanged, match=r"high.*changed while it was served; give new checkpoints a new folder"
    ):
        theta(opened, line_weights(0.5))


def test_an_engine_that_moves_does_not_round_by_chance(endpoints):
    low, high = endpoints
    with pytest.raises(UsageError, match="rounds to nearest, not stochastic"):
        span({"low": low, "high": high}, rounding="stochastic")


GB = 10**9


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({}, "device"),
        ({"span": 40 * GB}, "pinned"),  # it would leave keys and values less than half
        ({"span": 40 * GB, "cache": 20 * GB}, "device"),
        ({"span": 40 * GB, "cache": 30 * GB}, "pinned"),
        ({"free": 19 * GB}, "pinned"),  # others hold the rest
        ({"span": 40 * GB, "host": 60 * GB}, "files"),
        ({"span": 40 * GB, "workers": 2}, "files"),  # each would pin as much
    ],
)
def test_checkpoints_are_kept_where_the_division_of_memory_has_room(case, expected):
    usual = {"span": 6 * GB, "total": 80 * GB, "free": 76 * GB, "share": 0.9, "cache": None, "host": 200 * GB}
    assert held.choose_place(**{"workers": 1} | usual | case) == expected


@pytest.mark.engine  # it imports vLLM
@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"quantization": "fp8", "use_mla": False}, r"quantised \(fp8\)"),
        ({"quantization": None, "use_mla": True}, r"multi-head latent attention"),
    ],
)
def test_a_model_that_computes_with_derived_weights_is_not_moved(model, words):
    shift = pytest.importorskip("alpharay.merge.engine.shift")
    with pytest.raises(UsageError, match=rf"m is .*{words}.* set hosting: replicas"):
        shift.check_movable(SimpleNamespace(model="m", **model))
    shift.check_movable(SimpleNamespace(model="m", quantization=None, use_mla=False))
