"""The same seed gives the same files, from processes that share nothing but the code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[2]
EMBEDDED = ROOT / "serve" / "embedded"

TOKENIZER = """
from bench.frontier.__main__ import tokenizer_step
tokenizer_step(folder, 1, sys.argv[2])
"""
START = """
import sys
from tokenizers import Tokenizer
from bench.frontier.sft import Sft, run
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
run(int(sys.argv[2]), 2, Sft(steps=2, batch=4), 1, tokenizer, folder)
"""


def runs(script: str, folder: Path, salt: int, *ranks: str) -> None:
    """The script in processes of their own; salt: of Python's hashes, on which the order of a set depends."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(salt), "OMP_NUM_THREADS": "1"}
    code = f"import sys\nfrom pathlib import Path\nfolder = Path(sys.argv[1])\n{script}"
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), *rank], env=environment)
        for rank in ([[each] for each in ranks] or [[]])
    ]
    try:
        assert [process.wait(timeout=240) for process in started] == [0] * len(started)
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.parametrize(("kind", "init"), [("contest", "init"), ("parts", "parts/init")])
def test_the_packages_tokenizers_come_from_their_seed(tmp_path, kind, init):
    runs(TOKENIZER, tmp_path, 1, kind)
    made, kept = (folder / "tokenizer.json" for folder in (tmp_path, EMBEDDED / init))
    assert made.read_bytes() == kept.read_bytes()


def test_the_start_is_the_same_bit_for_bit_when_two_processes_train_it_again(tmp_path):
    made = []
    for salt in (1, 2):
        folder = tmp_path / str(salt)
        folder.mkdir()
        shutil.copy(EMBEDDED / "init" / "tokenizer.json", folder)
        runs(START, folder, salt, "0", "1")
        made.append((folder / "init" / "model.safetensors").read_bytes())
    assert made[0] == made[1]
