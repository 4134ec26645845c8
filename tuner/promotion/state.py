"""What is written down of a challenger, before anything is decided and after: one JSON, whole at any time."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data.storage import whole_text
from tuner.promotion.challenger import Challenger
from tuner.promotion.looks import Look

FIRST = "first champion"  # there was none to beat
BETTER = "better beyond noise"
REFUSED = "not better beyond noise"


@dataclass(frozen=True)
class Decision:
    """What came of a comparison with one champion."""

    model: str  # its registered name
    challenger: str  # digest
    champion: str | None  # its version; None: there was none
    values: tuple[float, ...]  # mAP on test, a training each
    champion_values: tuple[float, ...]
    difference: float | None
    p_value: float | None  # None: there was none to compare with, or no training differed from another
    test: str | None
    better: bool

    @property
    def verdict(self) -> str:
        """In words."""
        if self.champion is None:
            return FIRST
        return BETTER if self.better else REFUSED


@dataclass
class ChallengerState:
    """The file of one challenger."""

    path: Path
    told: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "ChallengerState":
        """What was written, or nothing."""
        return cls(path, json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {})

    def measured(self, challenger: Challenger, looks: Sequence[Look]) -> None:
        """Keep what was trained, and what it is worth on test."""
        self.told |= {
            "search_id": challenger.search_id,
            "trial": challenger.trial,
            "with_val": challenger.with_val,
            "dataset_digest": challenger.dataset_digest,
            "challenger": challenger.digest,
            "trainings": [
                {**training.as_dict(), "test_map": look.map, "looked_at": look.at}
                for training, look in zip(challenger.trainings, looks, strict=True)
            ],
        }
        self._write()

    def decision(self, model: str, challenger: str, champion: str | None) -> Decision | None:
        """What was decided on these trainings against this champion, if it was."""
        for tree in self.told.get("decisions", []):
            if (tree["model"], tree["challenger"], tree["champion"]) == (model, challenger, champion):
                lists = {name: tuple(tree[name]) for name in ("values", "champion_values")}
                return Decision(**{**tree, **lists})
        return None

    def decided(self, decision: Decision) -> None:
        """Keep a decision."""
        self.told["decisions"] = [*self.told.get("decisions", []), asdict(decision)]
        self._write()

    def _write(self) -> None:
        self.path.parent.mkdir(exist_ok=True)
        whole_text(self.path, json.dumps(self.told, indent=2) + "\n")
