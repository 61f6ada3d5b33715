"""Which processes are which, by their command lines."""

from __future__ import annotations

from collections.abc import Iterable

import psutil


def holding(word: str, processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those whose command line holds that word. One that has ended meanwhile is none of them."""
    holders = []
    for process in processes:
        try:
            if word in " ".join(process.cmdline()):
                holders.append(process)
        except psutil.Error:
            continue
    return holders
