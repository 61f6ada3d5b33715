"""How much of the memory the requests' bodies hold, all of them together."""

from __future__ import annotations

from alpharay.serve.errors import RequestError, no_capacity

_RETRY_AFTER_S = 2


class Bodies:
    """All bodies that one ingress replica holds, from their arrival to the end of their requests."""

    def __init__(self, limit_mb: float) -> None:
        self._limit = int(limit_mb * 1e6)
        self.held = 0

    def share(self) -> Share:
        """A new request's part."""
        return Share(self)

    def take(self, size: int, own: int) -> None:
        """own: what the request holds already. Raises RequestError: 503, or 413 where it would not fit alone."""
        if own + size > self._limit:
            raise RequestError(
                413,
                f"the request takes more than the {self._limit / 1e6:g} MB that all bodies may hold; "
                "raise server.max_held_mb or send less",
            )
        if self.held + size > self._limit:
            raise no_capacity(
                f"the bodies of the requests under way hold {self.held / 1e6:.0f} of {self._limit / 1e6:g} MB",
                retry_after_s=_RETRY_AFTER_S,
            )
        self.held += size


class Share:
    """One request's part of what is held; given back by `release()`, once."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.size = 0

    def add(self, size: int) -> None:
        """Raises RequestError: 503, or 413 where it would not fit alone."""
        self._bodies.take(size, self.size)
        self.size += size

    def release(self) -> None:
        self._bodies.held -= self.size
        self.size = 0
