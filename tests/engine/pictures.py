"""Takes the pictures of the page that the documentation shows: python -m tests.engine.pictures URL

URL: of a server of the embedded frontier that was started for it, with an ALPHARAY_CACHE of its own: what it has judged
is in the picture. Needs Debian's package chromium.
"""

from __future__ import annotations

import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import httpx

from .browser import tab

DOCS = Path(__file__).parents[2] / "docs"
FINISHED = "!document.getElementById('run').disabled && document.querySelectorAll('.chip').length > 0"
# Of the page's own examples; most members write both a slow and a fast way for it.
SHOWN = 2


def main() -> None:
    (root,) = sys.argv[1:]
    draw_the_frontier(root)
    with tempfile.TemporaryDirectory() as folder, tab(Path(folder)) as page:
        page.look(width=900, height=1150)
        page.open(f"{root}/")
        page.wait("document.querySelectorAll('.member').length === 9")
        page.js(
            f"(() => {{ const one = document.getElementById('example'); one.selectedIndex = {SHOWN};"
            " one.dispatchEvent(new Event('change')); document.getElementById('seed').value = 1 })()"
        )
        page.js("document.getElementById('request').requestSubmit()")
        page.wait(FINISHED, 120)
        page.wait("document.getElementById('program').textContent !== ''")
        for dark in (False, True):
            page.look(width=900, height=1150, dark=dark)
            page.picture(DOCS / f"page-{'dark' if dark else 'light'}.png")


def draw_the_frontier(root: str) -> None:
    """Has samples of every member judged on all the problems that nobody was trained on."""
    problems = (files("alpharay.serve") / "embedded" / "problems.jsonl").read_text().splitlines()

    def sampling(problem: dict) -> None:
        body = {
            "model": "frontier",
            "seed": 1,
            "max_tokens": 120,
            "messages": [{"role": "user", "content": problem["prompt"]}],
            "alpharay": {
                "policy": "uniform",  # the default schedule leaves some members out
                "budget": 18,
                "stop_after_passes": 18,
                "time_limit_s": 0.5,
                "tests": problem["tests"],
            },
        }
        httpx.post(f"{root}/v1/chat/completions", json=body, timeout=300).raise_for_status()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(sampling, map(json.loads, problems)))


if __name__ == "__main__":
    main()
