"""Changes what is served while it is served: other checkpoints, or another router."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from alpharay.merge.errors import MergeError
from alpharay.serve.cluster.bring_up import Say, ask_cluster_state, deploy, tell_members
from alpharay.serve.cluster.prepare import prepare
from alpharay.serve.cluster.ray_cluster import check_spare_gpus
from alpharay.serve.config import Config
from alpharay.serve.errors import ServeError, StartFailed
from alpharay.serve.state.revision import AnnouncedRevision, Revision, changed, steps

_SETTLE_S = 0.5


@dataclass
class Rolling:
    """Changes what is served while it is served, in a thread of its own: one change at a time.

    asked: the configuration as it was read. over: the server ends; whatever fails now is no news.
    """

    revision: Revision
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
            config = changed(self.asked, wanted, self.revision.config)
            members, specs = prepare(config, self.say)
            new = Revision(config=config, members=members, specs=specs)
            if new == self.revision and not self._unfinished:
                self.say("reread: nothing has changed")
                return
            for step in steps(self.revision, new):
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

    def _move(self, new: Revision) -> None:
        """New engines beside the old ones; then requests to the new ones; then the old ones go.

        Raises StartFailed: the new engines do not start; the old ones are as they were.
        """
        from alpharay.serve.cluster.deployments import handles

        self._unless_over()
        old, fresh = self.revision, new.groups().keys() - self.revision.groups().keys()
        names = [name for group in fresh for spec in new.groups()[group] for name in spec.members]
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
        told = AnnouncedRevision(number=self._number, config=new.config, members=new.members, hosts=hosts)
        self.revision, self._unfinished = new, True
        self.say("new requests are answered with it; waiting for those under way")
        while not self._settled(told):
            self._unless_over()
            time.sleep(_SETTLE_S)
        deploy(new, self.say)

    def _unless_over(self) -> None:
        """Raises StartFailed, which nobody is told: the server ends, and what has not been changed stays."""
        if self.over:
            raise StartFailed("the server ends")

    def _settled(self, told: AnnouncedRevision) -> bool:
        """Whether nobody answers with an earlier revision any more."""
        try:
            # Said again each time: a cluster state that was restarted has forgotten it.
            ask_cluster_state("announce", told)
            return bool(ask_cluster_state("settled", told.number))
        except Exception as error:
            self.say(f"the cluster state does not answer ({type(error).__name__}); it is asked again")
            return False
