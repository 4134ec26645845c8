"""What Ray's word for a trial's failure means."""

import re
from dataclasses import dataclass

from tuner.study.record import TrialState

_MEMORY = re.compile(r"OutOfMemoryError|out of memory|MemoryError|[Cc]annot allocate memory|bad_alloc")
_NODE = re.compile(r"node has died|NodeDiedError|node was (?:terminated|preempted)|node is dead|ObjectFetchTimedOut")
# Ray writes the exception's name or its words alone, as it comes.
_WORKER = re.compile(
    r"ActorDiedError|ActorUnavailableError|WorkerCrashedError|RayActorError|worker (?:process )?(?:has )?died"
    r"|[Tt]he actor (?:\w+ )?(?:died|is unavailable|is temporarily unavailable|is dead)"
)


@dataclass(frozen=True)
class Ending:
    """How a trial ended that raised or lost its worker; no state if another worker shall go on with it."""

    state: TrialState | None
    why: str
    with_node: bool = False


def ending(text: str) -> Ending:
    """Read a failure's traceback: its last line says why, and its words whether trial, worker or node are to blame."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    why = lines[-1] if lines else "the worker died without a word"
    if _MEMORY.search(text):
        told = next(line for line in reversed(lines) if _MEMORY.search(line))
        return Ending(TrialState.OUT_OF_MEMORY, told)
    if _NODE.search(text):
        return Ending(None, "its node is gone", with_node=True)
    if not lines or _WORKER.search(text):
        told = next((line for line in lines if _WORKER.search(line)), why)
        return Ending(None, told)
    return Ending(TrialState.FAILED, why)
