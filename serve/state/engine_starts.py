"""Which starts of a member's engines are restarts: those in place of an engine that was lost.

A replica that autoscaling, or a change of checkpoints, adds or takes away is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# A lost replica may still report for this long while its successor starts.
_OVERLAP_S = 2.0


@dataclass(slots=True)
class _Replica:
    """first, last: times of its first and last report. instances: ids of its engine's instances, in order."""

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
        """Restarts so far; never decreases. silent_since: replicas without a report after that time are lost."""
        replicas = sorted(self._replicas.values(), key=lambda replica: replica.first)
        started = [replica for replica in replicas if replica.instances]
        in_place = sum(len(replica.instances) - 1 for replica in started)
        lost = sorted(
            (replica for replica in started if replica.last < silent_since), key=lambda replica: replica.last
        )
        successors = 0
        for replica in started:
            if lost and replica.first > max(lost[0].first, lost[0].last - _OVERLAP_S):
                lost.pop(0)
                successors += 1
        self._most = max(self._most, self._of_those_who_left + in_place + successors)
        return self._most
