"""Changes what is served while it is served: other checkpoints, or another router."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from alpharay.merge.errors import MergeError
from alpharay.serve.bring_up import Say, ask_hub, deploy, tell_members
from alpharay.serve.cluster import check_spare_gpus
from alpharay.serve.config import Config
from alpharay.serve.errors import ServeError, StartFailed
from alpharay.serve.lineup import Announced, Lineup, changed, steps
from alpharay.serve.prepare import prepare

_SETTLE_S = 0.5


@dataclass
class Rolling:
    """Changes what is served while it is served, in a thread of its own: one change at a time.

    asked: the configuration as it was read. over: the server ends; whatever fails now is no news.
    """

    lineup: Lineup
    asked: Config
    reread: Callable[[], Config]
    say: Say
    over: bool = False
    _number: int = 0
    # A change has begun and not ended: members of both may be served, and engines of both run.
    _unfinished: bool = False
    _thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True, name="rolling")
        self._thread.start()

    def _run(self) -> None:
        try:
            wanted = self.reread()
            config = changed(self.asked, wanted, self.lineup.config)
            members, seats = prepare(config, self.say)
            new = Lineup(config=config, members=members, seats=seats)
            if new == self.lineup and not self._unfinished:
                self.say("reread: nothing has changed")
                return
            for step in steps(self.lineup, new):
                self._move(step)
            self._unfinished = False
            self.asked = wanted
            self.say("reread: the new configuration is served")
            tell_members(members, self.say)
        except Exception as error:
            if not self.over:
                kind = "" if isinstance(error, ServeError | MergeError) else f"{type(error).__name__}: "
                served = "part of it is served" if self._unfinished else "what is served stays as it is"
                self.say(f"error: reread: {kind}{error}; {served}")

    def _move(self, new: Lineup) -> None:
        """New engines beside the old ones; then requests to the new ones; then the old ones go.

        Raises StartFailed: the new engines do not start; the old ones are as they were.
        """
        from alpharay.serve.deploy import handles

        self._unless_over()
        old, fresh = self.lineup, new.groups().keys() - self.lineup.groups().keys()
        names = [name for group in fresh for seat in new.groups()[group] for name in seat.members]
        if fresh:
            check_spare_gpus(new.config)
            self.say(f"starting engines of {', '.join(names)} beside those that serve")
            try:
                deploy(old, self.say, new)
            except StartFailed:
                # The failed one is still heard of for a while.
                deploy(old, self.say, watch=False)
                raise
        self._number += 1
        hosts, _ = handles(new)
        told = Announced(number=self._number, config=new.config, members=new.members, hosts=hosts)
        self.lineup, self._unfinished = new, True
        self.say("new requests are answered with it; waiting for those under way")
        while not self._settled(told):
            self._unless_over()
            time.sleep(_SETTLE_S)
        deploy(new, self.say)

    def _unless_over(self) -> None:
        """Raises StartFailed, which nobody is told: the server ends, and what has not been changed stays."""
        if self.over:
            raise StartFailed("the server ends")

    def _settled(self, told: Announced) -> bool:
        """Whether nobody answers with an earlier lineup any more."""
        try:
            # Said again each time: a hub that was restarted has forgotten it.
            ask_hub("announce", told)
            return bool(ask_hub("settled", told.number))
        except Exception as error:
            self.say(f"the hub does not answer ({type(error).__name__}); it is asked again")
            return False
