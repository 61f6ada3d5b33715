"""The page at `/` in a real browser, against the real server."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from .browser import CHROMIUM, Tab, tab

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: Debian's package chromium"),
]

FINISHED = "!document.getElementById('run').disabled && document.querySelectorAll('.chip').length > 0"
KINDS = "[...document.querySelectorAll('.chip')].map(chip => chip.dataset.kind ?? chip.dataset.state)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Tab]:
    with tab(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def page(server, browser) -> Tab:
    """The page as it is when it is opened, in a tab that knows of nothing before."""
    browser.forget()
    browser.look(width=1280, height=900)
    browser.open(f"{server.root}/")
    browser.wait("document.querySelectorAll('.member').length === 5")
    return browser


def focused(page: Tab) -> str:
    return page.js("document.activeElement.id || document.activeElement.getAttribute('aria-label') || ''")


def test_a_request_is_typed_run_and_copied_with_the_keyboard_alone(page, problems):
    """Tab, type, Enter: from an empty form to the program that passed, and to the same request as curl."""
    # The one that is solved more often than any other.
    problem = next(problem for problem in problems if problem["id"] == "equal_letters-test-1")
    page.js("document.getElementById('example').focus()")
    page.key("Home", 36)
    page.wait("document.getElementById('prompt').value === ''")
    page.key("Tab", 9)
    assert focused(page) == "prompt"
    page.type(problem["prompt"])
    page.key("Tab", 9)  # the radio buttons are one stop
    page.key("Tab", 9)
    assert focused(page) == "input of case 1"
    page.type(problem["tests"]["cases"][0]["input"].strip())
    page.key("Tab", 9)
    assert focused(page) == "expected output of case 1"
    page.type(problem["tests"]["cases"][0]["output"].strip())
    for _ in range(20):
        if focused(page) == "run":
            break
        page.key("Tab", 9)
    page.key("Enter", 13, text="\r")
    page.wait(FINISHED)
    assert page.js("document.getElementById('problem').textContent") == ""
    assert "accepted" in page.js(KINDS)
    # Each sample is labelled in words, not by colour alone, and the best one's program is on display.
    labels = page.js("[...document.querySelectorAll('.chip')].map(chip => chip.getAttribute('aria-label'))")
    assert all(label.startswith("sample ") and " of alpha " in label for label in labels)
    assert "accepted" in page.js("document.getElementById('origin').textContent")
    assert "print" in page.js("document.getElementById('program').textContent")
    assert "enough passed" in page.js("document.getElementById('status').textContent")
    assert page.js("document.querySelectorAll('#chart circle').length") > 0
    shares = page.js("[...document.querySelectorAll('.share')].map(share => share.textContent)")
    assert all("drawn" in share for share in shares)
    # The figures are those of the metrics page, which others' requests are part of.
    judged = page.js(
        "[...document.querySelectorAll('#figures tbody td:first-of-type')].map(cell => +cell.textContent)"
    )
    assert sum(judged) >= len([kind for kind in page.js(KINDS) if kind in {"accepted", "incorrect", "slow"}])


def test_the_copied_curl_is_the_request_and_is_answered(page):
    page.js("document.getElementById('seed').value = 5")
    copied = page.js(
        "(async () => { let text; Object.defineProperty(navigator, 'clipboard',"
        " {value: {writeText: async (one) => { text = one }}, configurable: true});"
        " document.getElementById('copy-curl').click(); await new Promise(requestAnimationFrame); return text })()"
    )
    words = shlex.split(copied)
    assert words[:2] == ["curl", "-s"]
    answered = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    answer = json.loads(answered.stdout)
    assert answer["alpharay"]["judge"] == "ok"
    request = json.loads(words[words.index("-d") + 1])
    assert request["alpharay"]["tests"]["cases"]
    assert (request["seed"], request["model"]) == (5, "frontier")


def test_any_samples_own_program_can_be_read(page):
    page.js("document.getElementById('request').requestSubmit()")
    page.wait(FINISHED)
    picked = page.js(
        "(() => { const chip = [...document.querySelectorAll('.chip:not(:disabled)')].at(-1); chip.click();"
        " return [chip.getAttribute('aria-pressed'), chip.getAttribute('aria-label')] })()"
    )
    assert picked[0] == "true"
    number = picked[1].split()[1]
    assert page.js("document.getElementById('origin').textContent").startswith(f"Sample {number},")


def test_stop_frees_what_was_asked_for(page, server, wait_until):
    page.js("document.getElementById('budget').value = 400")
    page.js("document.getElementById('passes').value = 400")
    page.js("document.getElementById('request').requestSubmit()")
    page.wait("document.querySelectorAll('.chip').length > 0")
    page.js("document.getElementById('stop').click()")
    page.wait("document.getElementById('status').textContent === 'Stopped.'")
    wait_until(server.idle, "engines without requests")


def test_a_refusal_is_shown_in_the_servers_own_words(page):
    page.js("document.getElementById('policy').value = 'unifrom'")
    page.js("document.getElementById('request').requestSubmit()")
    page.wait("document.getElementById('problem').textContent !== ''")
    assert "policy" in page.js("document.getElementById('problem').textContent")


def test_the_page_stays_on_its_server_fits_a_phone_and_has_nothing_to_complain_about(page, server):
    grounds = set()
    for width in (1280, 360):
        for dark in (False, True):
            page.look(width=width, height=800, dark=dark)
            assert page.js("document.documentElement.scrollWidth <= innerWidth")
            grounds.add((dark, page.js("getComputedStyle(document.body).backgroundColor")))
    assert len(grounds) == len({colour for _, colour in grounds}) == 2
    unnamed = page.js(
        "[...document.querySelectorAll('input, select, textarea')].filter(field => "
        "!field.labels.length && !field.getAttribute('aria-label')).length"
    )
    assert unnamed == 0
    assert {url.partition("?")[0].removeprefix(server.root)[:1] for url in page.requested()} == {"/"}
    assert page.complaints() == []
