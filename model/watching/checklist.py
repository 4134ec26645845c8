"""What a training should have come to, line by line: passed or failed, what was seen, what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.dataset import Dataset
from data.errors import DatasetError
from data.manifest import Split
from model.checkpoint import Checkpoint, load_checkpoint
from model.diagnosis.rules import DEAD
from model.diagnosis.vital_signs import examine

MOST_WAITING = 0.1  # share of the training time
MOST_SKIPPED = 0.01  # share of the steps


@dataclass(frozen=True, slots=True)
class Check:
    """One line."""

    name: str
    passed: bool
    seen: str
    remedy: str  # where it failed

    def line(self) -> str:
        """As it is printed."""
        return (
            f"{'pass' if self.passed else 'FAIL'}  {self.name}: {self.seen}{'' if self.passed else f'; {self.remedy}'}"
        )


def checklist(rows: Sequence[dict[str, str]], steps: int, best: Path, dataset: Dataset, split: Split) -> list[Check]:
    """The checks of a run that is done.

    Args:
        rows: of its history, an epoch each.
        steps: of the optimizer in the epochs of these rows.
        best: its best checkpoint.
        dataset: that it was trained on.
        split: that it was measured on.
    """
    first, last = float(rows[0]["loss"]), float(rows[-1]["loss"])
    fell = f"{first:.3f} to {last:.3f}" if len(rows) > 1 else f"{first:.3f} in the only epoch"
    highest = max(float(row["map"]) for row in rows)
    waiting = float(rows[-1]["waiting"])  # by now the caches are warm
    skipped = sum(float(row["skipped_steps"]) for row in rows)
    return [
        Check("loss fell", last < first or len(rows) == 1, fell, "lower optimizer.lr"),
        Check("mAP above zero", highest > 0, f"{highest:.4f}", "ask `spiketune diagnose` why"),
        Check("loader not the bottleneck", waiting <= MOST_WAITING, f"waited {waiting:.1%}", "raise data.workers"),
        Check(
            "steps finite", skipped <= MOST_SKIPPED * steps, f"{skipped:.0f} of {steps} skipped", "lower optimizer.lr"
        ),
        *_of_checkpoint(best, dataset, split),
    ]


def _of_checkpoint(best: Path, dataset: Dataset, split: Split) -> list[Check]:
    try:
        checkpoint = load_checkpoint(best)
    except DatasetError as error:
        return [Check("checkpoint readable", False, str(error), "train again")]
    return [
        Check("checkpoint readable", True, f"{best.name}, epoch {checkpoint.epoch}", ""),
        _alive(checkpoint, dataset, split),
    ]


def _alive(checkpoint: Checkpoint, dataset: Dataset, split: Split) -> Check:
    layers = examine(checkpoint, dataset, split, windows=8).layers
    dead = [layer.name for layer in layers if layer.rate < DEAD]
    seen = f"{len(layers)} layers fire" if not dead else f"dead: {', '.join(dead)}"
    return Check("no dead layer", not dead, seen, "lower optimizer.lr or model.neuron.threshold")
