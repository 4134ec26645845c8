"""Each rule on paper, and eight faults planted into real trainings: each is named as the cause."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from data.audit.rules import Severity
from data.boxes import Boxes, LabelSet, label_set
from data.dataset import Dataset
from data.events import Events, SensorSize
from data.manifest import Split
from data.step_labels import step_times
from data.windows import Window
from model import head
from model.checkpoint import Checkpoint, load_checkpoint
from model.diagnosis.diagnose import Diagnosis, diagnose
from model.diagnosis.findings import REMEDIES, Cause
from model.diagnosis.layer_signs import LayerSigns
from model.diagnosis.learning_signs import LearningSigns
from model.diagnosis.result_signs import ResultSigns
from model.diagnosis.rules import findings
from model.diagnosis.vital_signs import VitalSigns
from model.neurons import SpikingNeuron
from model.prediction import Validation
from model.training.run import train
from model.trial_config import TrialConfig

SMALL = {
    "data.time_steps": 2,
    "training.epochs": 1,
    "training.batch_size": 4,
    "training.seed": 11,
    "training.compile": "off",
    "model.width": 0.5,
    "optimizer.lr": 4e-3,
    "optimizer.schedule": "onecycle",
}
SIZE = SensorSize(96, 64)
GEN1 = label_set("gen1")
Write = Callable[[Path, Sequence[Any], SensorSize, LabelSet], Dataset]


# On paper

HEALTHY = VitalSigns(
    split=Split.VAL,
    trained_on=GEN1,
    label_set=GEN1,
    trained_size=SIZE,
    size=SIZE,
    epoch=3,
    lr=0.0,  # as at the end of a schedule
    moved=0.3,
    layers=(LayerSigns("first", 0.2, 0.2, 4, 0.0), LayerSigns("second", 1.2, 1.1, 4, 0.1)),
    learning=LearningSigns(
        images=32,
        labelled=1.0,
        boxes=40,
        boxes_studied=20,
        images_studied=16,
        positives=160,
        gradients={"stem": 0.5, "neck": 1.0, "head": 4.0},
        rates={},
    ),
    results=ResultSigns(
        windows=10,
        found_at_origin=0.05,
        truth_at_origin=0.02,
        met=[[9, 1], [1, 9]],
        truth=25,
        boxes=100,
        filtered=20,
        rates={},
        silent={},
    ),
)


def learning(**changes: Any) -> VitalSigns:
    assert HEALTHY.learning is not None
    return replace(HEALTHY, learning=replace(HEALTHY.learning, **changes))


def results(**changes: Any) -> VitalSigns:
    return replace(HEALTHY, results=replace(HEALTHY.results, **changes))


def layer(rate: float, training_rate: float | None = 0.2, levels: int | None = 4, silent: float = 0.0) -> VitalSigns:
    return replace(HEALTHY, layers=(LayerSigns("first", rate, training_rate, levels, silent), HEALTHY.layers[1]))


@pytest.mark.parametrize(
    ("signs", "cause", "where"),
    [
        (replace(HEALTHY, label_set=LabelSet("gen1", ("pedestrian", "car"))), Cause.LABEL_SET, "checkpoint"),
        (replace(HEALTHY, size=SensorSize(64, 96)), Cause.SENSOR, "checkpoint"),
        (replace(HEALTHY, moved=math.nan), Cause.NOT_FINITE, "weights"),
        (results(filtered=90), Cause.BELOW_FILTER, "split val"),
        (learning(boxes=0, boxes_studied=0, positives=0), Cause.NO_POSITIVES, "training batches"),
        (learning(positives=0), Cause.NO_POSITIVES, "training batches"),
        (replace(HEALTHY, moved=9e-6), Cause.LEARNING_RATE, "weights"),
        (results(found_at_origin=0.8), Cause.AT_ORIGIN, "head"),
        (layer(0.9e-4, 0.0), Cause.DEAD_LAYER, "first"),
        (layer(0.0, None), Cause.DEAD_LAYER, "first"),
        (layer(3.8, 3.8), Cause.SATURATED_LAYER, "first"),
        (layer(0.95, 0.9, levels=1), Cause.SATURATED_LAYER, "first"),
        (learning(gradients={"stem": 0.0, "stage": 1e-5, "head": 4.0}), Cause.VANISHED_GRADIENT, "stage"),
        (learning(gradients={"stem": 0.0, "head": 0.0}), Cause.VANISHED_GRADIENT, "head"),
        (results(met=[[0, 4], [4, 0]]), Cause.CLASS_MAP, "split val"),
    ],
)
def test_a_number_beyond_its_limit_is_an_error_and_names_its_cause(signs: VitalSigns, cause: Cause, where: str) -> None:
    (finding,) = findings(signs)
    assert (finding.severity, finding.cause, finding.where) == (Severity.ERROR, cause, where)
    assert finding.remedy
    diagnosis = Diagnosis(signs, (finding,))
    assert diagnosis.failed
    assert diagnosis.line().startswith(f"error {cause.value}: {where}: ")
    assert "\n" not in diagnosis.line()


@pytest.mark.parametrize(
    ("signs", "cause"),
    [
        (results(filtered=89), Cause.BELOW_FILTER),
        (layer(0.0, 0.2), Cause.UNSETTLED_NORMS),  # it fires where norms follow the batch
        (layer(0.2, silent=0.5), Cause.SILENT_CHANNELS),
    ],
)
def test_what_only_costs_quality_is_a_warning(signs: VitalSigns, cause: Cause) -> None:
    (finding,) = findings(signs)
    assert (finding.severity, finding.cause) == (Severity.WARNING, cause)
    assert not Diagnosis(signs, (finding,)).failed


@pytest.mark.parametrize(
    "signs",
    [
        HEALTHY,
        replace(HEALTHY, moved=1.1e-5),
        replace(HEALTHY, moved=0.0, epoch=0),  # not trained yet
        replace(HEALTHY, lr=None),
        results(filtered=49),
        results(found_at_origin=0.79),
        results(found_at_origin=1.0, truth_at_origin=0.21),  # that is where the objects are
        results(met=[[0, 3], [4, 0]]),  # 7 of 25 boxes met: too few to judge by
        results(met=[[0, 90], [0, 10]], truth=100),  # one class for all: badly trained, not renamed
        results(met=[[6, 4], [4, 6]]),
        learning(positives=1),  # one point for 20 boxes
        learning(gradients={"stem": 5e-5, "head": 4.0}),
        layer(1.1e-4),
        layer(3.79),
        layer(0.94, levels=1),
        layer(9.0, levels=None),  # real numbers have no most
        layer(0.2, silent=0.49),
    ],
)
def test_within_the_limits_nothing_is_found(signs: VitalSigns) -> None:
    assert findings(signs) == ()
    assert Diagnosis(signs, ()).line().startswith("no fault found: layers fire ")


def test_errors_stand_before_warnings_and_causes_before_what_follows_from_them() -> None:
    broken = replace(
        learning(gradients={"stem": 0.0, "head": 1.0}, positives=0),
        layers=(
            LayerSigns("a", 0.2, 0.2, 4, 0.9),
            LayerSigns("b", 0.0, 0.0, 4, 1.0),
            LayerSigns("c", 0.0, 0.0, 4, 1.0),
        ),
        moved=0.0,
    )
    found = findings(broken)
    assert [finding.cause for finding in found] == [
        Cause.LEARNING_RATE,
        Cause.NO_POSITIVES,
        Cause.DEAD_LAYER,
        Cause.DEAD_LAYER,
        Cause.VANISHED_GRADIENT,
        Cause.SILENT_CHANNELS,
    ]
    assert Diagnosis(broken, found).line().endswith("(and 5 more)")


def test_every_cause_has_a_remedy_and_stands_in_the_manual() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "diagnosis.md").read_text()
    assert REMEDIES.keys() == set(Cause)
    assert [cause for cause in Cause if f"| `{cause}` |" not in manual] == []


# Planted


def run(dataset: Dataset, out: Path, **changes: Any) -> Checkpoint:
    config = TrialConfig().with_leaves(
        {**SMALL, **{key.replace("__", "."): value for key, value in changes.items()}}, ""
    )
    for _ in train(config, dataset, out, Validation(windows=4), "cpu"):
        pass
    return load_checkpoint(out / "last.safetensors")


def cause(diagnosis: Diagnosis) -> tuple[Cause, Severity, str]:
    first = diagnosis.findings[0]
    return first.cause, first.severity, first.where


@pytest.fixture(scope="module")
def trained(tiny_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return run(tiny_dataset, tmp_path_factory.mktemp("healthy"), training__epochs=6, model__width=1.0)


@pytest.fixture
def patient(trained: Checkpoint) -> Checkpoint:
    """The trained detector, to be harmed."""
    return replace(trained, detector=copy.deepcopy(trained.detector))


def test_a_weight_that_is_no_number_is_told(patient: Checkpoint, tiny_dataset: Dataset) -> None:
    next(patient.detector.neck.parameters()).data[0] = math.nan
    assert cause(diagnose(patient, tiny_dataset)) == (Cause.NOT_FINITE, Severity.ERROR, "weights")


def throw(checkpoint: Checkpoint, shift: float) -> None:
    """What a step too long leaves behind: the norm that feeds backbone.stages.1.1.split shifts everything far off."""
    norm = checkpoint.detector.get_submodule("backbone.stages.1.0.2")
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.constant_(norm.bias, shift)


@pytest.mark.parametrize("split", [Split.TRAIN, Split.VAL])
def test_a_detector_at_the_end_of_a_schedule_that_found_its_objects_has_no_fault(
    trained: Checkpoint, tiny_dataset: Dataset, split: Split
) -> None:
    assert trained.metrics["lr"] < 4e-3 / 100  # one cycle ends at next to nothing
    diagnosis = diagnose(trained, tiny_dataset, split)
    assert diagnosis.findings == ()
    assert diagnosis.signs.results.met_share > 0.5


def test_a_layer_whose_norm_was_thrown_far_below_the_threshold_is_dead(
    patient: Checkpoint, tiny_dataset: Dataset
) -> None:
    throw(patient, -30.0)
    diagnosis = diagnose(patient, tiny_dataset)
    assert cause(diagnosis) == (Cause.DEAD_LAYER, Severity.ERROR, "backbone.stages.1.1.split.0")


def test_a_layer_whose_norm_was_thrown_far_above_the_threshold_is_saturated(
    patient: Checkpoint, tiny_dataset: Dataset
) -> None:
    throw(patient, 30.0)
    diagnosis = diagnose(patient, tiny_dataset)
    assert cause(diagnosis) == (Cause.SATURATED_LAYER, Severity.ERROR, "backbone.stages.1.1.split.0")


class Stepping(SpikingNeuron):
    """A neuron that somebody wrote without a surrogate: a comparison, which passes no gradient."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).detach()


def test_a_gradient_is_lost_where_a_neuron_has_no_surrogate(patient: Checkpoint, tiny_dataset: Dataset) -> None:
    for module in patient.detector.backbone.stages[0].modules():
        if isinstance(module, SpikingNeuron):
            module.__class__ = Stepping
    diagnosis = diagnose(patient, tiny_dataset)
    assert cause(diagnosis) == (Cause.VANISHED_GRADIENT, Severity.ERROR, "backbone.stem")


def test_anchor_points_that_lack_their_stride_put_all_boxes_at_the_origin(
    tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rightly = head.anchor_points

    def in_cells(sizes: list[tuple[int, int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        points, strides = rightly(sizes, device)
        return points / strides[:, None], strides

    monkeypatch.setattr(head, "anchor_points", in_cells)
    checkpoint = run(tiny_dataset, tmp_path, training__epochs=2)
    assert checkpoint.metrics["map50"] == 0
    assert cause(diagnose(checkpoint, tiny_dataset)) == (Cause.AT_ORIGIN, Severity.ERROR, "head")


def test_labels_on_another_clock_than_the_windows_give_no_positives(
    tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_nanoseconds(window: Window, time_steps: int) -> npt.NDArray[np.int64]:
        return step_times(window, time_steps) * 1000

    monkeypatch.setattr("data.batches.step_times", in_nanoseconds)
    diagnosis = diagnose(run(tiny_dataset, tmp_path, training__windows_per_epoch=12), tiny_dataset)
    assert cause(diagnosis) == (Cause.NO_POSITIVES, Severity.ERROR, "training batches")
    assert diagnosis.signs.learning is not None
    assert (diagnosis.signs.learning.labelled, diagnosis.signs.learning.boxes) == (0, 0)


def still_scene(xywh: Sequence[tuple[float, float, float, float]]) -> tuple[Events, Boxes]:
    """A second of noise, and boxes that stay, of class 0, 1, 0, ..., labelled every 50 ms."""
    random = np.random.default_rng(1)
    count = 8000
    t = np.sort(random.integers(0, 1_000_000, count))
    x, y, p = (random.integers(0, most, count) for most in (96, 64, 2))
    events = Events(t, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8))
    times = np.arange(100_000, 1_000_000, 50_000)
    track = np.tile(np.arange(len(xywh)), len(times))
    boxes = Boxes(np.repeat(times, len(xywh)), np.tile(np.array(xywh, np.float32), (len(times), 1)), track % 2, track)
    return events, boxes


def written(write_dataset: Write, make_take: Any, folder: Path, xywh: Sequence[tuple[float, ...]]) -> Dataset:
    events, boxes = still_scene([(x, y, w, h) for x, y, w, h in xywh])
    takes = [make_take(f"{split}_day_0001", split, events, boxes, False) for split in (Split.TRAIN, Split.VAL)]
    return write_dataset(folder, takes, SIZE, GEN1)


def test_boxes_that_slip_between_the_anchor_points_give_no_positives(
    make_take: Any, write_dataset: Write, tmp_path: Path
) -> None:
    # Points lie at 4 + 8k, 8 + 16k and 16 + 32k; mirrored or not, 40.25 to 43.75 and 32.25 to 35.75 hold none.
    dataset = written(write_dataset, make_take, tmp_path / "data", [(40.25, 32.25, 3.5, 3.5)])
    diagnosis = diagnose(run(dataset, tmp_path / "run"), dataset)
    assert cause(diagnosis) == (Cause.NO_POSITIVES, Severity.ERROR, "training batches")
    assert diagnosis.signs.learning is not None
    assert diagnosis.signs.learning.boxes > 0


def test_objects_smaller_than_the_evaluation_counts_are_named(
    make_take: Any, write_dataset: Write, tmp_path: Path
) -> None:
    # Around the points (44, 36) and (20, 20), but 4.2 px across, where the protocol asks for 60 * 96 / 1280 = 4.5.
    dataset = written(write_dataset, make_take, tmp_path / "data", [(42.5, 34.5, 3, 3), (18.5, 18.5, 3, 3)])
    checkpoint = run(dataset, tmp_path / "run")
    assert checkpoint.metrics["map"] == 0
    diagnosis = diagnose(checkpoint, dataset)
    assert cause(diagnosis) == (Cause.BELOW_FILTER, Severity.ERROR, "split val")


def relabelled(
    dataset: Dataset, make_take: Any, write_dataset: Write, folder: Path, labels: LabelSet, turn: int
) -> Dataset:
    """The recordings again under another label set, each class number moved on by `turn`."""
    takes = []
    for split in (Split.TRAIN, Split.VAL):
        for shard in dataset.shards(split):
            boxes = replace(shard.boxes, class_id=(shard.boxes.class_id + turn) % 2)
            takes.append(
                make_take(shard.name, split, shard.events(shard.first_us, shard.last_us + 1), boxes, shard.night)
            )
    return write_dataset(folder, takes, SIZE, labels)


@pytest.mark.parametrize("labels", ["etram3", "pedro"])  # with more classes than the checkpoint, and with fewer
def test_a_dataset_of_another_label_set_is_told_and_not_refused(
    trained: Checkpoint, tiny_dataset: Dataset, make_take: Any, write_dataset: Write, tmp_path: Path, labels: str
) -> None:
    other = relabelled(tiny_dataset, make_take, write_dataset, tmp_path, label_set(labels), 0)
    diagnosis = diagnose(trained, other)
    assert cause(diagnosis) == (Cause.LABEL_SET, Severity.ERROR, "checkpoint")
    assert "'gen1' (car, pedestrian)" in diagnosis.line()
    assert f"'{labels}'" in diagnosis.line()


def test_classes_under_each_others_numbers_are_told_from_what_is_found(
    trained: Checkpoint, tiny_dataset: Dataset, make_take: Any, write_dataset: Write, tmp_path: Path
) -> None:
    turned = relabelled(tiny_dataset, make_take, write_dataset, tmp_path, GEN1, 1)
    diagnosis = diagnose(trained, turned)
    assert cause(diagnosis) == (Cause.CLASS_MAP, Severity.ERROR, "split val")
    assert "car as pedestrian, pedestrian as car" in diagnosis.line()


def test_a_learning_rate_in_the_wrong_unit_leaves_the_weights_where_they_were(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    diagnosis = diagnose(run(tiny_dataset, tmp_path, optimizer__lr=4e-9, training__windows_per_epoch=12), tiny_dataset)
    assert cause(diagnosis) == (Cause.LEARNING_RATE, Severity.ERROR, "weights")


def test_a_schedule_whose_factor_is_zero_leaves_the_weights_where_they_were(
    tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "model.training.trainer.make_schedule", lambda optimizer, *_: LambdaLR(optimizer, lambda _: 0.0)
    )
    diagnosis = diagnose(run(tiny_dataset, tmp_path, training__windows_per_epoch=12), tiny_dataset)
    assert cause(diagnosis) == (Cause.LEARNING_RATE, Severity.ERROR, "weights")
    assert "learning rate was 0" in diagnosis.line()
    assert diagnosis.signs.moved == 0


def test_one_epoch_that_learns_little_is_not_an_error(tiny_dataset: Dataset, tmp_path: Path) -> None:
    checkpoint = run(tiny_dataset, tmp_path, training__windows_per_epoch=8, optimizer__lr=1e-4)
    assert not diagnose(checkpoint, tiny_dataset).failed
