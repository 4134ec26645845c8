"""The living searches of a cluster, known through one actor of it; each asks for its share every few seconds."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tuner.sharing import Claim, Share, shares

BEAT_S = 2.0
SILENT_S = 30.0  # after which a search is taken for dead
_ANSWER_S = 20.0
# Searches of several versions of the code may run on one cluster: what they say to the actor must mean the same.
_NAME, _NAMESPACE = "shares-1", "spiketune"
_log = logging.getLogger(__name__)


class Living:
    """The searches that have been heard of lately.

    Args:
        clock: seconds, ever rising.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._claims: dict[str, tuple[Claim, float]] = {}

    def beat(self, search: str, claim: Claim) -> tuple[Share, int]:
        """A search lives and claims this; its share, and how many searches there are."""
        now = self._clock()
        self._claims[search] = claim, now
        self._claims = {name: known for name, known in self._claims.items() if now - known[1] < SILENT_S}
        names = sorted(self._claims)  # in one order, whoever asks and whenever they came
        divided = shares([self._claims[name][0] for name in names])
        return divided[names.index(search)], len(names)

    def leave(self, search: str) -> None:
        """A search has ended; the last one takes the actor with it."""
        self._claims.pop(search, None)
        if not self._claims and ray.is_initialized():
            ray.actor.exit_actor()


@contextmanager
def shared(search: str, claim: Callable[[], Claim]) -> Iterator["Sharer"]:
    """Take part in the division of the cluster."""
    sharer = Sharer(search, claim)
    sharer.beat()
    thread = threading.Thread(target=sharer.keep_beating, name="share", daemon=True)
    thread.start()
    try:
        yield sharer
    finally:
        sharer.ended.set()
        thread.join(_ANSWER_S + BEAT_S)
        sharer.leave()


class Sharer:
    """A search that takes part. While the actor does not answer, the last share holds."""

    def __init__(self, search: str, claim: Callable[[], Claim]) -> None:
        self._search, self._claim = search, claim
        self._actor: Any = None
        self.ended = threading.Event()
        self.share: Share | None = None  # None: nothing has been heard yet
        self.alone = True

    def keep_beating(self) -> None:
        """Until the search has ended."""
        while not self.ended.wait(BEAT_S):
            self.beat()

    def beat(self) -> None:
        """Say that the search lives, and take its share."""
        try:
            if self._actor is None:
                self._actor = _actor()
            self.share, living = ray.get(self._actor.beat.remote(self._search, self._claim()), timeout=_ANSWER_S)
            self.alone = living == 1
        except (RayError, ValueError, TimeoutError) as error:  # ValueError: it is dying
            self._actor = None
            _log.info("the cluster's shares do not answer: %s", error)

    def leave(self) -> None:
        """Give the share back."""
        if self._actor is not None:
            try:
                ray.get(self._actor.leave.remote(self._search), timeout=_ANSWER_S)
            except (RayError, TimeoutError) as error:  # also when it was the last, and the actor has gone
                _log.info("left the cluster's shares: %s", error)


def _actor() -> Any:
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return (
        ray.remote(Living)
        .options(
            name=_NAME,
            namespace=_NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            max_restarts=-1,
            scheduling_strategy=here,
        )
        .remote()
    )
