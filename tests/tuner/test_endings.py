"""What Ray's words for a failure mean."""

import pytest

from tuner.endings import ending
from tuner.study.record import TrialState

TRACE = 'Traceback (most recent call last):\n  File "trial.py", line 3, in train\n'


@pytest.mark.parametrize(
    ("text", "state", "why", "with_node"),
    [
        (TRACE + "ValueError: no such thing\n", TrialState.FAILED, "ValueError: no such thing", False),
        (
            TRACE + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n",
            TrialState.OUT_OF_MEMORY,
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
            False,
        ),
        (
            "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.\n",
            TrialState.OUT_OF_MEMORY,
            "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.",
            False,
        ),
        (TRACE + "MemoryError\n", TrialState.OUT_OF_MEMORY, "MemoryError", False),
        (
            "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.\nclass_name: x\n",
            None,
            "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.",
            False,
        ),
        (
            "ray.exceptions.ActorDiedError: The actor died unexpectedly.\nThe actor died because its node has died.",
            None,
            "its node is gone",
            True,
        ),
        (
            "The actor 044026e4 is unavailable: The actor is temporarily unavailable: RpcError: Socket closed.\n",
            None,
            "The actor 044026e4 is unavailable: The actor is temporarily unavailable: RpcError: Socket closed.",
            False,
        ),
        (
            TRACE + "ValueError: the actor of this film is unavailable\n",
            TrialState.FAILED,
            "ValueError: the actor of this film is unavailable",
            False,
        ),
        ("", None, "the worker died without a word", False),
    ],
)
def test_a_failure_is_the_trial_s_the_memory_s_the_worker_s_or_the_node_s(
    text: str, state: TrialState | None, why: str, with_node: bool
) -> None:
    found = ending(text)
    assert (found.state, found.why, found.with_node) == (state, why, with_node)
