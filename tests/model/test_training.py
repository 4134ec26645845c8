import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.batches import Batch
from data.dataset import Dataset
from data.errors import ConfigError, DatasetError, Diverged
from data.manifest import Split
from model.checkpoint import load_checkpoint
from model.detector import SpikingDetector
from model.evaluation.average_precision import AveragePrecision
from model.evaluation.protocol import evaluate_checkpoint
from model.loss import DetectionLoss
from model.prediction import Validation, WindowResult
from model.training.lessons import lesson_counts
from model.training.report import EpochReport, StepReport
from model.training.run import train
from model.training.trainer import Trainer
from model.trial_config import TrialConfig

CPU = torch.device("cpu")
SMALL = {
    "data.time_steps": 2,
    "training.epochs": 2,
    "training.batch_size": 4,
    "training.windows_per_epoch": 12,
    "training.seed": 11,
    "training.compile": "off",  # compiling takes longer than these trainings
    "training.precision": "fp32",  # the same on every machine
}


def trial(**changes: Any) -> TrialConfig:
    return TrialConfig().with_leaves({**SMALL, **{key.replace("__", "."): value for key, value in changes.items()}}, "")


def trained(config: TrialConfig, dataset: Dataset, out: Path) -> list[EpochReport]:
    return list(train(config, dataset, out, Validation(windows=4), "cpu"))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).detector.state_dict()


def timeless(report: EpochReport) -> dict[str, float]:
    metrics = report.as_metrics()
    return {name: value for name, value in metrics.items() if name not in ("seconds", "windows_per_second", "waiting")}


@pytest.fixture(scope="module")
def first_run(tiny_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[EpochReport], Path]:
    out = tmp_path_factory.mktemp("runs") / "new" / "folder"
    return trained(trial(), tiny_dataset, out), out


Run = tuple[list[EpochReport], Path]


def test_the_same_seed_gives_the_same_metrics_and_weights(
    first_run: Run, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    torch.rand(5)  # whatever was drawn before, and whatever a caller seeds, must not matter
    again = trained(trial(), tiny_dataset, tmp_path)
    assert [timeless(report) for report in again] == [timeless(report) for report in first_run[0]]
    ours, theirs = weights(first_run[1] / "last.safetensors"), weights(tmp_path / "last.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_another_seed_gives_other_losses_and_weights(first_run: Run, tiny_dataset: Dataset, tmp_path: Path) -> None:
    other = trained(trial(training__seed=12, training__epochs=1), tiny_dataset, tmp_path)
    assert other[0].loss != first_run[0][0].loss
    ours, theirs = weights(first_run[1] / "best.safetensors"), weights(tmp_path / "last.safetensors")
    first = next(iter(ours))
    assert not torch.equal(ours[first], theirs[first])


def test_reports_count_epochs_from_one_and_their_metrics_are_flat(first_run: Run) -> None:
    reports, _ = first_run
    assert [report.epoch for report in reports] == [1, 2]
    for report in reports:
        metrics = report.as_metrics()
        terms = {"loss_box", "loss_cls", "loss_dfl", "loss_track"}
        assert metrics.keys() >= {"epoch", "map", "map50", "map75", "lr", "loss", "seconds", *terms}
        assert all(isinstance(value, float) and math.isfinite(value) for value in metrics.values())
        assert metrics["loss"] == pytest.approx(sum(metrics[term] for term in terms))


def test_a_run_leaves_two_checkpoints_its_state_and_nothing_else(first_run: Run) -> None:
    assert {path.name for path in first_run[1].iterdir()} == {
        "best.safetensors",
        "last.safetensors",
        "state.safetensors",
    }


def test_a_checkpoint_holds_its_epochs_numbers_and_the_whole_configuration(first_run: Run) -> None:
    reports, out = first_run
    last = load_checkpoint(out / "last.safetensors")
    assert last.config == trial()
    assert (last.epoch, last.metrics) == (2, reports[1].as_metrics())


def test_a_checkpoint_evaluates_to_what_its_report_said(first_run: Run, tiny_dataset: Dataset) -> None:
    reports, out = first_run
    evaluation = evaluate_checkpoint(out / "last.safetensors", tiny_dataset, Validation(windows=4), "cpu")
    assert evaluation.windows == 4
    found = (evaluation.overall.ap, evaluation.overall.ap50, evaluation.overall.ap75)
    assert found == (reports[1].map, reports[1].map50, reports[1].map75)


def test_the_checkpoints_of_an_epoch_are_there_before_its_report(tiny_dataset: Dataset, tmp_path: Path) -> None:
    reports = train(trial(), tiny_dataset, tmp_path, Validation(windows=2), "cpu")
    next(reports)
    assert load_checkpoint(tmp_path / "last.safetensors").epoch == 1
    assert load_checkpoint(tmp_path / "best.safetensors").epoch == 1


@pytest.fixture
def scripted_map(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], None]:
    """Have the epochs measure these maps."""

    def script(values: list[float]) -> None:
        rest: Iterator[float] = iter(values)
        monkeypatch.setattr(Trainer, "measure", lambda *_: (AveragePrecision(np.full((2, 10), next(rest))), []))

    return script


@pytest.mark.parametrize(
    ("maps", "best_epoch", "flags"),
    [
        ([0.1, 0.3, 0.2], 2, [True, True, False]),
        ([0.3, 0.1, 0.3], 1, [True, False, False]),  # as good is not better
        ([0.0, 0.0, 0.0], 1, [True, False, False]),
        ([0.0, 0.0, 0.1], 3, [True, False, True]),
    ],
)
def test_best_is_the_epoch_of_the_highest_map_and_last_is_the_last(
    tiny_dataset: Dataset,
    tmp_path: Path,
    scripted_map: Callable[[list[float]], None],
    maps: list[float],
    best_epoch: int,
    flags: list[bool],
) -> None:
    scripted_map(maps)
    states = []
    reports = []
    config = trial(training__epochs=3, training__windows_per_epoch=4)
    for report in train(config, tiny_dataset, tmp_path, device="cpu"):
        reports.append(report)
        states.append(weights(tmp_path / "last.safetensors"))
    assert [report.best for report in reports] == flags
    best, last = load_checkpoint(tmp_path / "best.safetensors"), load_checkpoint(tmp_path / "last.safetensors")
    assert (best.epoch, last.epoch) == (best_epoch, 3)
    assert best.metrics["map"] == pytest.approx(max(maps))
    kept = best.detector.state_dict()
    assert [all(torch.equal(kept[name], state[name]) for name in kept) for state in states] == [
        epoch == best_epoch for epoch in (1, 2, 3)
    ]


def test_the_loss_falls(tiny_dataset: Dataset, tmp_path: Path, scripted_map: Callable[[list[float]], None]) -> None:
    scripted_map([0.0] * 4)
    config = trial(training__epochs=4, training__windows_per_epoch=16)
    losses = [report.as_metrics()["loss"] for report in train(config, tiny_dataset, tmp_path, device="cpu")]
    assert losses[-1] < 0.75 * losses[0]


@pytest.mark.parametrize(
    ("layer", "rows", "term"),
    [
        ("category", slice(None), "cls"),
        ("box", slice(-32, None), "track"),  # the embeddings stand behind the sides
    ],
)
def test_a_loss_that_is_not_finite_names_its_term_and_windows_and_touches_no_weight(
    tiny_dataset: Dataset, layer: str, rows: slice, term: str
) -> None:
    trainer = Trainer(trial(training__most_skipped=1), tiny_dataset, Validation(), CPU)
    for branch in getattr(trainer.detector.head, layer):
        branch.readout.bias.data[rows] = torch.inf
    before = {name: value.clone() for name, value in trainer.detector.named_parameters()}
    with pytest.raises(Diverged, match=rf"loss term {term} is not finite .*epoch 3, step 1 \(train_.* at 0\.\d+ s"):
        list(trainer.epoch(3))
    assert all(torch.equal(before[name], value) for name, value in trainer.detector.named_parameters())


def gradients(trainer: Trainer, batch: Batch) -> list[torch.Tensor]:
    loss = DetectionLoss(trainer.config.loss)(trainer.detector(batch.frames_TBCHW), batch).total()
    return list(torch.autograd.grad(loss, list(trainer.detector.parameters())))


def test_a_step_follows_the_gradient_of_its_own_batch_alone(tiny_dataset: Dataset) -> None:
    plain = {"optimizer__momentum": 0, "optimizer__weight_decay": 0, "optimizer__clip_norm": 1e9}
    config = trial(optimizer__name="sgd", **plain, loss__track_memory=0)
    trainer = Trainer(config, tiny_dataset, Validation(), CPU)
    trainer.detector.train()
    for group in trainer.optimizer.param_groups:
        group["lr"] = 0.01
    first, second, _ = trainer.loader.epoch(1)
    trainer.stepper.step([first])
    before = [value.detach().clone() for value in trainer.detector.parameters()]
    (rate,) = {group["lr"] for group in trainer.optimizer.param_groups}
    expected = gradients(trainer, second)
    trainer.stepper.step([second])
    for old, new, gradient in zip(before, trainer.detector.parameters(), expected, strict=True):
        torch.testing.assert_close(new.detach(), old - rate * gradient)


def test_a_gradient_longer_than_the_limit_is_scaled_down_to_it(tiny_dataset: Dataset) -> None:
    trainer = Trainer(trial(optimizer__clip_norm=0.125), tiny_dataset, Validation(), CPU)
    batch = next(trainer.loader.epoch(1))
    assert torch.nn.utils.get_total_norm(gradients(trainer, batch)) > 1
    trainer.stepper.step([batch])
    taken = [value.grad for value in trainer.detector.parameters() if value.grad is not None]
    assert torch.nn.utils.get_total_norm(taken).item() == pytest.approx(0.125, rel=1e-4)


def test_an_epoch_after_a_measurement_trains_the_norms_too(tiny_dataset: Dataset) -> None:
    trainer = Trainer(trial(training__windows_per_epoch=4), tiny_dataset, Validation(), CPU)
    trainer.measure()
    trainer.detector.eval()
    seen = [value.clone() for name, value in trainer.detector.named_buffers() if name.endswith("running_mean")]
    list(trainer.epoch(1))
    now = [value for name, value in trainer.detector.named_buffers() if name.endswith("running_mean")]
    assert seen
    assert not any(torch.equal(old, new) for old, new in zip(seen, now, strict=True))


def test_a_validation_split_without_recordings_is_refused(tiny_dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="split 'test' holds no recording"):
        next(train(trial(), tiny_dataset, tmp_path, Validation(split=Split.TEST), "cpu"))


@pytest.mark.parametrize(
    "changes",
    [
        {"data__representation__name": "diff3d"},
        {"data__representation__name": "stacked_histogram", "data__representation__bins": 3},
        {"data__representation__name": "time_surface"},
        {"data__sampling": "stride", "data__order": "mixed", "data__overlap": 0.0},
        {"data__augment__mosaic": 0.5, "data__augment__multi_scale": 0.4, "data__augment__time_flip": 0.5},
        {"loss__class_weights": "balanced"},
    ],
)
def test_every_way_of_showing_the_data_trains(changes: dict[str, Any], tiny_dataset: Dataset, tmp_path: Path) -> None:
    (report,) = trained(trial(training__epochs=1, **changes), tiny_dataset, tmp_path)
    assert report.loss["cls"] > 0
    assert report.loss["box"] > 0
    assert all(math.isfinite(value) for value in report.as_metrics().values())


def test_streamed_windows_are_trained_with_the_membranes_of_those_before_them(tiny_dataset: Dataset) -> None:
    config = trial(data__sampling="stride", data__order="streaming", data__overlap=0.0, training__batch_size=2)
    trainer = Trainer(config, tiny_dataset, Validation(windows=2), CPU)
    seen: list[tuple[torch.Tensor, ...]] = []
    trainer.detector.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    list(trainer.epoch(1))
    flags = [continues.tolist() for _, continues in seen]
    assert flags[0] == [False, False]
    assert [True, True] in flags[1:]


def test_the_rarer_class_weighs_more_where_weights_are_balanced(tmp_path: Path, tiny_dataset: Dataset) -> None:
    # As many boxes of one class as of the other: balanced weights are 1, and the loss is that without any.
    plain, balanced = (
        trained(trial(loss__class_weights=kind, training__epochs=1), tiny_dataset, tmp_path / kind)
        for kind in ("none", "balanced")
    )
    assert plain[0].loss == balanced[0].loss


class Told:
    """A watcher that keeps what it hears."""

    def __init__(self) -> None:
        self.steps: list[StepReport] = []
        self.windows: list[int] = []

    def stepped(self, step: StepReport) -> None:
        self.steps.append(step)

    def measured(self, report: EpochReport, detector: SpikingDetector, results: Sequence[WindowResult]) -> None:
        assert report.epoch == self.steps[-1].epoch
        assert detector.config.preset == "nano"
        self.windows.append(len(results))


def test_a_watcher_hears_of_every_step_and_every_measurement(tiny_dataset: Dataset, tmp_path: Path) -> None:
    told = Told()
    list(train(trial(), tiny_dataset, tmp_path, Validation(windows=4), "cpu", watchers=[told]))
    assert [(step.epoch, step.step, step.steps) for step in told.steps] == [
        (e, s, 3) for e in (1, 2) for s in (1, 2, 3)
    ]
    assert [step.windows for step in told.steps] == [4] * 6
    assert all(step.labelled == 1 and step.boxes >= 4 * 2 for step in told.steps)  # two objects, some out of sight
    assert told.windows == [4, 4]


def test_training_ends_when_patience_does(
    tiny_dataset: Dataset, tmp_path: Path, scripted_map: Callable[[list[float]], None]
) -> None:
    scripted_map([0.1, 0.2, 0.205, 0.2, 0.9])
    config = trial(training__epochs=5, training__windows_per_epoch=4, training__patience=2, training__min_gain=0.01)
    reports = list(train(config, tiny_dataset, tmp_path, device="cpu"))
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert [report.last for report in reports] == [False, False, False, True]
    assert [report.best for report in reports] == [True, True, True, False]


def test_a_new_phase_has_its_own_best_and_carries_the_weights_over(
    tiny_dataset: Dataset, tmp_path: Path, scripted_map: Callable[[list[float]], None]
) -> None:
    scripted_map([0.5, 0.4, 0.3, 0.35])
    config = trial(training__epochs=4, training__windows_per_epoch=4, training__phases=[{"epochs": 2, "scale": 0.5}])
    scales, before = [], None
    for report in train(config, tiny_dataset, tmp_path, device="cpu"):
        last = load_checkpoint(tmp_path / "last.safetensors")
        scales.append(last.config.data.scale)
        before = last.detector.state_dict() if report.epoch == 2 else before
    best = load_checkpoint(tmp_path / "best.safetensors")
    assert scales == [0.5, 0.5, 1.0, 1.0]
    assert (best.epoch, best.config.data.scale) == (4, 1.0)
    assert before is not None
    first = "backbone." + next(iter(best.detector.backbone.state_dict()))
    torch.testing.assert_close(before[first], best.detector.state_dict()[first], rtol=0.5, atol=0.1)


def test_an_average_of_the_weights_is_what_is_measured_and_kept(tiny_dataset: Dataset, tmp_path: Path) -> None:
    config = trial(training__epochs=1, training__ema_decay=0.5)
    trainer = Trainer(config, tiny_dataset, Validation(windows=2), CPU)
    list(trainer.epoch(1))
    trainer.end_epoch(1)
    list(train(config, tiny_dataset, tmp_path, Validation(windows=2), "cpu"))
    kept = weights(tmp_path / "last.safetensors")
    raw, averaged = trainer.detector.state_dict(), trainer.measured.state_dict()
    name = next(name for name, value in raw.items() if value.dim() == 4)
    assert not torch.equal(raw[name], averaged[name])
    assert all(torch.equal(kept[each], averaged[each]) for each in kept)


def test_a_final_training_learns_from_val_too_and_keeps_the_last_epoch(
    tiny_dataset: Dataset, tmp_path: Path, scripted_map: Callable[[list[float]], None]
) -> None:
    scripted_map([0.3, 0.1])
    told: list[int] = []
    config = trial(training__with_val=True, training__windows_per_epoch=None)
    for report in train(config, tiny_dataset, tmp_path, device="cpu"):
        told.append(report.steps)
        assert report.best
    # 18 label times (100 to 950 ms) of each of four recordings, in steps of four; of two recordings it would be 9.
    assert told == [18, 18]
    assert load_checkpoint(tmp_path / "best.safetensors").epoch == 2


def test_patience_is_refused_where_val_is_trained_on() -> None:
    with pytest.raises(ConfigError, match="patience=2 waits for gains on val, which with_val trains on"):
        trial(training__with_val=True, training__patience=2)


def test_class_weights_count_the_boxes_of_all_that_is_trained_on(tiny_dataset: Dataset) -> None:
    both = lesson_counts(tiny_dataset, trial(training__with_val=True).training)
    assert (both == [72, 72]).all()  # 18 label times of two boxes in each of four recordings
    assert (lesson_counts(tiny_dataset, trial().training) == [36, 36]).all()
