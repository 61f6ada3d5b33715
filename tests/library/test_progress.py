"""The progress line of long commands."""

import sys

from alpharay import progress
from alpharay.progress import ProgressLine


def test_a_terminal_sees_the_line_redrawn_and_its_last_state(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with ProgressLine() as line:
        line.show(1, 2, lambda: "half")
        line.end("all")
    assert f"\r\x1b[K[{'#' * 12}{' ' * 12}] half\r\x1b[Kall\n" in capsys.readouterr().err


def test_the_text_is_made_only_when_the_line_is_due(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    clock = iter([0.0, 0.0, progress.REDRAW_S / 2, progress.REDRAW_S])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    line, texts = ProgressLine(), iter(["first", "second"])
    for _ in range(3):
        line.show(0, 1, lambda: next(texts))
    assert next(texts, None) is None


def test_a_log_file_gets_a_line_now_and_then_and_nothing_that_is_redrawn(capsys, monkeypatch):
    clock = iter([0.0, 10.0, 30.0, 40.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    line, texts = ProgressLine(every_s=30), iter(["30 of 60", "40 of 60"])
    for done in (10, 30, 40):
        line.show(done, 60, lambda: next(texts))
    assert capsys.readouterr().err == "30 of 60\n"


def test_an_error_finds_no_half_drawn_line(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    try:
        with ProgressLine() as line:
            line.show(1, 2, lambda: "half")
            raise ValueError
    except ValueError:
        print("error", file=sys.stderr)
    assert capsys.readouterr().err.endswith("\r\x1b[Kerror\n")
