"""Histories of searches written by hand, for tests of what is made of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.tuner.search_records import record, spec_of
from tuner.examination.examination import Examination
from tuner.history import SearchHistory
from tuner.result import SearchResult
from tuner.schedulers.decision import Decision
from tuner.search_folder import Identity
from tuner.spec.search_spec import SearchSpec
from tuner.study.history import Leg, TrialHistory
from tuner.study.record import Told, TrialState

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"

UNEXAMINED = Examination(reason=HOSTILE)

SPEC = """\
name: tiny
space:
  loss.box: {uniform: [2, 15]}
  loss.focal_gamma: {uniform: [0, 3]}
  optimizer.name: {choice: [sgd, adamw]}
  optimizer.lr:
    - {when: {optimizer.name: sgd}, log_uniform: [3.0e-3, 3.0e-2]}
    - {when: {optimizer.name: adamw}, log_uniform: [3.0e-4, 8.0e-3]}
scheduler: {name: asha, grace: 2, reduction_factor: 3}
budget: {trials: 40, epochs: 9}
"""


def history_of(folder: Path, trials: Sequence[TrialHistory], spec: SearchSpec | None = None) -> SearchHistory:
    spec = spec_of(folder) if spec is None else spec
    result = SearchResult("tiny-20260102-030405", folder, spec, [trial.record for trial in trials])
    return SearchHistory(result, tuple(trials), Identity(result.search_id, "datasets/tiny", "5f" * 32))


def trial_of(
    spec: SearchSpec,
    number: int,
    values: Sequence[float | tuple[float, ...]],
    state: TrialState = TrialState.COMPLETE,
    *,
    legs: Sequence[Leg] = (),
    told_s: Sequence[float | None] = (),
    decisions: Sequence[Decision] = (),
    ended_s: float | None = None,
    **facts: Any,
) -> TrialHistory:
    """A trial that reported these values, at these times."""
    one = record(spec, number, values, state, legs=len(legs), **facts)
    epochs = tuple(
        Told(
            epoch, one.metrics or {}, None, decisions[k] if decisions else Decision.CONTINUE, 0.0,
            at_s=told_s[k] if told_s else None,
        )
        for k, epoch in enumerate(sorted(one.curve))
    )  # fmt: skip
    return TrialHistory(one, epochs, tuple(legs), legs[0].at_s if legs else None, ended_s)


def many(spec: SearchSpec, count: int, epochs: int = 2, begin: int = 0) -> list[TrialHistory]:
    """Trials whose value after each epoch is their box weight over 15, whatever the other settings are."""
    found = []
    for number in range(begin, begin + count):
        box = 2 + 13 * ((number * 7) % 40) / 40
        name = "sgd" if number % 2 else "adamw"
        lr = 0.004 * (1 + number % 5 / 5)
        sampled = {
            "loss.box": box,
            "loss.focal_gamma": (number * 11) % 30 / 10,
            "optimizer.name": name,
            "optimizer.lr": lr,
        }
        found.append(trial_of(spec, number, [box / 15] * epochs, TrialState.STOPPED, sampled=sampled))
    return found
