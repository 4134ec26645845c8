"""Trainings without hope, known before their mAP can say so: dead or saturated nets, and losses that blew up."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from data.audit.rules import Severity
from model.diagnosis.findings import Cause

ALIVE = 1e-3  # mAP: a net that has found anything is judged by what it finds
LOOKS = 2  # in a row that must find the same: norms settle, and a layer may yet wake
BLOWN_UP = 10.0  # times the lowest loss so far: a healthy one falls, and the phases of a training differ by less
SKIPPED = 0.5  # of an epoch's steps: where more numbers are not finite, hardly anything is learnt

# A diagnosis names the cause of what else it finds first. Of the others some are the data's, and some heal with time.
_HOPELESS = (Cause.DEAD_LAYER, Cause.SATURATED_LAYER, Cause.NOT_FINITE)


@dataclass
class _Case:
    """What was seen of a trial."""

    epoch: int = 0  # the last that was looked at
    lowest: float = math.inf  # loss of an epoch
    complaint: str | None = None  # the kind of the last finding
    looks: int = 0  # in a row that found it


class Health:
    """Watches every trial of a search; of trials that a process before this one began, it knows nothing."""

    def __init__(self) -> None:
        self._cases: dict[int, _Case] = {}

    def verdict(self, number: int, metrics: Mapping[str, float], diagnosis: str | None) -> str | None:
        """Why there is no hope for the trial, if there is none.

        Args:
            number: of the trial.
            metrics: of an epoch's report: `epoch`, `map`, `loss`, `steps` and `skipped_steps` are looked at.
            diagnosis: the line that came with it, if the net was examined after this epoch.
        """
        case = self._cases.setdefault(number, _Case())
        epoch, loss = int(metrics["epoch"]), metrics["loss"]
        if epoch <= case.epoch:
            return None  # told again after its worker was lost
        case.epoch = epoch
        case.lowest = min(case.lowest, loss)
        if metrics["map"] > ALIVE:
            case.complaint, case.looks = None, 0
            return None
        found = _examined(diagnosis) or _learnt(metrics, case.lowest)
        if found is None and diagnosis is None and case.complaint in _HOPELESS:
            return None  # the net's layers were not looked at
        kind, told = found or (None, "")
        case.looks = case.looks + 1 if kind == case.complaint else 1
        case.complaint = kind
        if kind is None or case.looks < LOOKS:
            return None
        return f"hopeless after epoch {epoch}: {told}"


def _examined(diagnosis: str | None) -> tuple[str, str] | None:
    for cause in _HOPELESS:
        if diagnosis is not None and diagnosis.startswith(f"{Severity.ERROR} {cause}:"):
            return cause, diagnosis.removeprefix(f"{Severity.ERROR} ")
    return None


def _learnt(metrics: Mapping[str, float], lowest: float) -> tuple[str, str] | None:
    steps, skipped, loss = metrics["steps"], metrics["skipped_steps"], metrics["loss"]
    if skipped > SKIPPED * steps:
        return "skipped", f"{skipped:.0f} of {steps:.0f} steps had numbers that were not finite"
    if loss > BLOWN_UP * lowest:
        return "blown up", f"the loss is {loss:.3g}, and was {lowest:.3g}"
    return None
