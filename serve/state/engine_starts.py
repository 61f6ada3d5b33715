"""Which starts of a member's engines are restarts: those in place of an engine that was lost.

A replica that autoscaling, or a change of checkpoints, adds or takes away is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# A lost replica may be heard of for so long while its successor already starts.
_OVERLAP_S = 2.0


@dataclass(slots=True)
class _Replica:
    """first, last: when it was heard of. instances: of its engine, one after the other."""

    first: float
    last: float
    instances: set[str] = field(default_factory=set)


class EngineStarts:
    """Of one member, the engine starts in each of its replicas."""

    def __init__(self) -> None:
        self.any = False
        self._replicas: dict[str, _Replica] = {}
        self._of_those_who_left = 0
        self._most = 0

    def heard(self, replica: str, instance: str, now: float) -> None:
        """instance: differs from start to start; empty before the first."""
        known = self._replicas.setdefault(replica, _Replica(first=now, last=now))
        known.last = now
        if instance:
            known.instances.add(instance)
            self.any = True

    def left(self, replica: str) -> None:
        """It ended because it was not needed any more."""
        known = self._replicas.pop(replica, None)
        if known is not None:
            self._of_those_who_left += max(0, len(known.instances) - 1)

    def restarts(self, silent_since: float) -> int:
        """silent_since: who was not heard of after that time is lost. Never falls."""
        replicas = sorted(self._replicas.values(), key=lambda one: one.first)
        started = [one for one in replicas if one.instances]
        in_place = sum(len(one.instances) - 1 for one in started)
        lost = sorted((one for one in started if one.last < silent_since), key=lambda one: one.last)
        successors = 0
        for one in started:
            if lost and one.first > max(lost[0].first, lost[0].last - _OVERLAP_S):
                lost.pop(0)
                successors += 1
        self._most = max(self._most, self._of_those_who_left + in_place + successors)
        return self._most
