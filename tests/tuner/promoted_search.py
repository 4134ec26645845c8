"""A search as its folder holds it afterwards, with real checkpoints of untrained detectors, for tests of promotion."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data.dataset import Dataset
from model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model.initial import initial_detector
from model.training.run_folder import BEST
from model.trial_config import TrialConfig
from tuner.schedulers.decision import Decision
from tuner.search_folder import IDENTITY_FILE, SPEC_FILE, Identity
from tuner.spec.search_spec import load_spec
from tuner.study.record import Origin, Told, TrialKind, TrialState
from tuner.study.study import Study

SPEC = """\
name: tiny
base: {{data: {{scale: 0.5, time_steps: 2}}, training.seed: {seed}}}
space: {{loss.box: {{uniform: [2, 15]}}}}
budget: {{trials: 2, epochs: 2}}
"""
WINNER = 1


def seeded(config: TrialConfig, dataset: Dataset, out: Path, seed: int, score: float) -> None:
    """A checkpoint that this seed alone has."""
    made = config.with_leaves({"training.seed": seed}, "test")
    detector = initial_detector(made, dataset.label_set).eval()
    save_checkpoint(Checkpoint(detector, made, dataset.label_set, dataset.size, 2, {"map": score}), out)


def make_search(folder: Path, dataset: Dataset, repeats: int = 0, first_seed: int = 0) -> Path:
    """A search of a default with .3 on val and a winner with .5, and repeats of the winner with .6, .61, ...

    Seeds, and with them checkpoints, are those from `first_seed` on: the default and the winner have the first.
    """
    folder.mkdir(parents=True)
    search_id = f"tiny-{first_seed}"
    (folder / SPEC_FILE).write_text(SPEC.format(seed=first_seed))
    (folder / IDENTITY_FILE).write_text(json.dumps(asdict(Identity(search_id, dataset.location, dataset.digest))))
    spec = load_spec(folder / SPEC_FILE)
    study = Study.create(folder, spec, search_id)
    found = [(Origin({}), 0.3), (Origin({"loss.box": 5.0}), 0.5)]
    for turn in range(1, repeats + 1):
        leaves = {"loss.box": 5.0, "training.seed": first_seed + turn}
        found.append((Origin(leaves, TrialKind.REPEAT, WINNER), 0.59 + turn / 100))
    for origin, value in found:
        number = study.begin(origin).number
        study.take_up(number)
        files = f"trials/{number:04d}"
        (folder / files).mkdir(parents=True)
        seeded(spec.configuration(origin.sampled), dataset, folder / files / BEST, study.trial(number).seed, value)
        metrics = {"epoch": 2.0, "map": value, "map50": value, "map75": value, "best": 1.0, "last": 1.0}
        study.report(number, Told(2, metrics, files, Decision.CONTINUE, 1.0))
        study.finish(number, TrialState.COMPLETE)
    return folder


class Scripted:
    """Measures a checkpoint as the test says, by its seed; keeps which seeds were measured on which dataset."""

    def __init__(self, values: Mapping[int, float]) -> None:
        self.values = dict(values)
        self.calls: list[tuple[int, str]] = []

    def __call__(self, checkpoint: Path, dataset: Dataset) -> Mapping[str, Any]:
        seed = load_checkpoint(checkpoint).config.training.seed
        self.calls.append((seed, dataset.digest))
        value = self.values[seed]
        part = {"map": value, "map50": value}
        by_class = {name: {"ap": value, "ap50": value, "ap75": value} for name in dataset.label_set.classes}
        return {"map": value, "map50": value, "map75": value, "day": part, "night": None, "per_class": by_class}
