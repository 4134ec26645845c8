"""Which checkpoints a run keeps besides its best and its last: the latest periodic ones, and the best so many epochs'.

Their names tell all that the choice depends on, so that it can be taken up again from the folder alone.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from model.training.config import CheckpointConfig

_NAME = re.compile(r"(?:top-(-?\d+\.\d+)-)?epoch-(\d+)\.safetensors")


@dataclass(frozen=True, slots=True)
class Turn:
    """What the end of an epoch changes, as names."""

    write: tuple[str, ...]
    remove: tuple[str, ...]  # when those are written


@dataclass(frozen=True, slots=True)
class _Kept:
    name: str
    epoch: int
    score: float | None  # None: a periodic one

    @property
    def rank(self) -> tuple[float, int]:
        """The highest stays longest: the latest of the periodic ones, the best of the others."""
        return (0.0, self.epoch) if self.score is None else (self.score, -self.epoch)


def periodic_name(epoch: int) -> str:
    """The name of a periodic checkpoint."""
    return f"epoch-{epoch:04d}.safetensors"


def top_name(score: float, epoch: int) -> str:
    """The name of a checkpoint among the best; of two that show the same score, the earlier epoch is the better."""
    return f"top-{score:.6f}-epoch-{epoch:04d}.safetensors"


def turn(config: CheckpointConfig, epoch: int, score: float, present: Collection[str]) -> Turn:
    """What to write and to remove after an epoch, when these files are present.

    Files of this epoch and of later ones are of a run that was cut short after its last state, or of one before: they
    do not count, and go. A kind of checkpoint that is not asked for is left alone, and a score that is no number is
    not among the best.
    """
    due = config.every_epochs is not None and epoch % config.every_epochs == 0
    new = set(_kept([top_name(score, epoch), *([periodic_name(epoch)] if due else [])]))
    found = set(_kept(present))
    ranked = sorted(new | {kept for kept in found if kept.epoch < epoch}, key=lambda kept: kept.rank, reverse=True)
    periodic = [kept for kept in ranked if kept.score is None][: config.most]
    best = [kept for kept in ranked if kept.score is not None][: config.top]
    asked = {kept for kept in found if (config.every_epochs if kept.score is None else config.top)}
    return Turn(_names(new.intersection([*periodic, *best])), _names(asked.difference(periodic, best)))


def _kept(names: Collection[str]) -> list[_Kept]:
    found = [match for name in names if (match := _NAME.fullmatch(name))]
    return [_Kept(match[0], int(match[2]), None if match[1] is None else float(match[1])) for match in found]


def _names(files: Collection[_Kept]) -> tuple[str, ...]:
    return tuple(sorted(kept.name for kept in files))
