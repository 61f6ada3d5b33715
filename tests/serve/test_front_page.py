"""The page at `/`: whole, and with no request to anywhere else."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from alpharay.judge.problem import parse_tests
from alpharay.serve.config import load
from alpharay.serve.frontiers import EMBEDDED, embedded_config
from alpharay.serve.gateway.routes.front_page import examples

PAGE = files("alpharay.serve.gateway") / "page"


async def test_the_page_and_every_part_it_names_are_served(serving):
    page = await serving.http.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    named = set(re.findall(r'"(page/[\w.]+)"', page.text))
    assert named == {"page/page.css", "page/main.js"}
    todo, seen = sorted(named), set()
    while todo:
        path = todo.pop()
        seen.add(path)
        part = await serving.http.get(f"/{path}")
        assert part.status_code == 200, path
        todo += [
            f"page/{name}"
            for name in re.findall(r'from "\./([\w.]+)"', part.text)
            if f"page/{name}" not in seen
        ]
    assert {f"page/{file.name}" for file in PAGE.iterdir()} == seen | {"page/index.html"}


async def test_the_page_asks_nothing_of_other_hosts_and_may_not(serving):
    policy = (await serving.http.get("/")).headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    assert "unsafe" not in policy
    for file in PAGE.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//\w+\.", text), file.name


async def test_an_unchanged_part_is_not_sent_again(serving):
    first = await serving.http.get("/page/main.js")
    again = await serving.http.get("/page/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "index.html", "..%2fconfig.py", "%2e%2e/config.py"])
async def test_nothing_else_is_served_from_there(serving, name):
    assert (await serving.http.get(f"/page/{name}")).status_code == 404


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_example_has_tests_that_the_judge_can_read(name):
    served_examples = examples(load(embedded_config(name)))
    assert len(served_examples) > 3
    for example in served_examples:
        assert example["prompt"].startswith(example["title"].removesuffix("…"))
        parse_tests(example["tests"])


async def test_the_examples_are_served(serving):
    assert (await serving.http.get("/page/examples.json")).json() == examples(load(None))


def test_examples_are_problems_that_the_served_checkpoints_were_trained_for(tmp_path):
    parts = embedded_config("parts").parent
    copied = tmp_path / "frontier.yaml"
    copied.write_text(f"endpoints: {{low: '{parts}/low', high: '{parts}/high'}}\nmembers: [0, 1]")
    assert {example["id"].split("-")[0] for example in examples(load(copied))} == {"parts2"}
    assert not any(example["id"].startswith("parts") for example in examples(load(None)))
