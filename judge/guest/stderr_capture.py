"""Captures standard error of a run: any amount is accepted, the beginning and the end are kept."""

import contextlib
import os

KEPT = 1 << 16  # bytes at either end
CUT = b"\n[...]\n"


class StderrCapture:
    """A pipe, since a file would have to end somewhere: past its limit a program is killed."""

    def __init__(self, file: int) -> None:
        """file: where to leave what is kept."""
        self._file = file
        self._first, self._last, self._more = b"", b"", False
        self.receive, self.send = os.pipe()
        os.set_blocking(self.receive, False)
        os.fchmod(self.send, 0o666)  # by its path, /dev/stderr, it is opened by another user

    def drain(self) -> None:
        """Reads what is there now."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.receive, KEPT):
                self._keep(data)
                if len(data) < KEPT:
                    return

    def _keep(self, data: bytes) -> None:
        room = KEPT - len(self._first)
        self._first += data[:room]
        self._last += data[room:]
        if len(self._last) > KEPT:
            self._last, self._more = self._last[-KEPT:], True

    def close(self) -> None:
        """To be called when the last writer has ended."""
        self.drain()
        os.close(self.send)
        os.close(self.receive)
        for part in (self._first, CUT if self._more else b"", self._last):
            if part:
                os.write(self._file, part)
