import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from data.batches import Batch
from data.dataset import Dataset
from data.errors import Diverged, TrainingError
from model.prediction import Validation
from model.training.trainer import Trainer
from model.trial_config import TrialConfig

CPU = torch.device("cpu")
SMALL = {
    "data.time_steps": 2,
    "training.batch_size": 4,
    "training.windows_per_epoch": 12,
    "training.compile": "off",
    "training.precision": "fp32",
}


def trainer_of(dataset: Dataset, **leaves: Any) -> Trainer:
    named = {key.replace("__", "."): value for key, value in leaves.items()}
    return Trainer(TrialConfig().with_leaves({**SMALL, **named}, "test"), dataset, Validation(windows=2), CPU)


class Short(nn.Module):
    """A net whose device holds only so many rows at once."""

    def __init__(self, net: nn.Module, rows: int) -> None:
        super().__init__()
        self.net, self.rows, self.seen = net, rows, list[int]()

    def forward(self, frames_TBCHW: torch.Tensor, continues: torch.Tensor | None = None) -> Any:
        self.seen.append(frames_TBCHW.shape[1])
        predictions = self.net(frames_TBCHW, continues)
        if frames_TBCHW.shape[1] > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return predictions


def stepped(trainer: Trainer) -> None:
    trainer.detector.train()
    trainer.stepper.step([next(trainer.loader.epoch(1))])


def test_a_step_that_runs_out_of_memory_is_taken_in_halves_and_the_log_says_so(
    tiny_dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = trainer_of(tiny_dataset)
    trainer.stepper.net = short = Short(trainer.detector, 2)
    stepped(trainer)
    assert short.seen == [4, 2, 2]
    assert trainer.stepper.parts == 2
    assert "CUDA out of memory" in caplog.text
    assert "each batch of 4 windows is now computed in 2 parts" in caplog.text


def test_halves_come_to_the_mean_of_their_own_gradients(tiny_dataset: Dataset) -> None:
    plain = {"optimizer__name": "sgd", "optimizer__momentum": 0.0, "optimizer__weight_decay": 0.0}
    trainer = trainer_of(tiny_dataset, **plain, optimizer__clip_norm=None, loss__track_memory=0)
    peer = trainer_of(tiny_dataset, **plain, optimizer__clip_norm=None, loss__track_memory=0)
    batch = next(trainer.loader.epoch(1))
    halves = [batch.rows(0, 2), batch.rows(2, 4)]
    losses = [peer.loss(peer.detector.train()(half.frames_TBCHW), half).total() for half in halves]
    expected = torch.autograd.grad((losses[0] + losses[1]) / 2, list(peer.detector.parameters()))
    trainer.stepper.parts = 2
    stepped(trainer)
    for value, gradient in zip(trainer.detector.parameters(), expected, strict=True):
        torch.testing.assert_close(value.grad, gradient, rtol=1e-4, atol=1e-6)


def test_a_single_window_that_does_not_fit_ends_the_training_with_the_remedy(tiny_dataset: Dataset) -> None:
    trainer = trainer_of(tiny_dataset)
    trainer.stepper.net = Short(trainer.detector, 0)
    with pytest.raises(TrainingError, match=r"out of memory with a single window .*lower data\.scale"):
        stepped(trainer)


def test_what_a_failed_attempt_did_to_the_norms_is_taken_back(tiny_dataset: Dataset) -> None:
    trainer, peer = trainer_of(tiny_dataset), trainer_of(tiny_dataset)
    trainer.stepper.net = Short(trainer.detector, 2)
    peer.stepper.parts = 2
    stepped(trainer)
    stepped(peer)
    ours, theirs = trainer.detector.state_dict(), peer.detector.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_streamed_membranes_go_on_row_by_row_when_a_batch_is_computed_in_halves(tiny_dataset: Dataset) -> None:
    streams = {"data__sampling": "stride", "data__order": "streaming", "data__overlap": 0.0}
    trainer = trainer_of(tiny_dataset, **streams, training__batch_size=2)
    trainer.stepper.parts = 2
    trainer.detector.eval()  # norms of one row alone would differ from those of two
    batches = list(trainer.loader.epoch(1))[:2]
    for batch in batches:
        for _ in trainer.stepper._parts_of([batch]):
            trainer.detector(_[0].frames_TBCHW, _[0].continues)
    halves = trainer.stepper.undo.membranes.read()
    trainer.stepper.undo.membranes.clear()
    for batch in batches:
        trainer.detector(batch.frames_TBCHW, batch.continues)
    whole = trainer.stepper.undo.membranes.read()
    assert len(whole) > 10
    for one, other in zip(halves, whole, strict=True):
        assert one is not None
        assert other is not None
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def broken_loss(trainer: Trainer, times: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the box term be no number at these calls, counted from 0."""
    loss, calls = trainer.loss, iter(range(10_000))

    def call(predictions: Any, batch: Batch) -> Any:
        terms = loss(predictions, batch)
        return (
            type(terms)(**{**{n: getattr(terms, n) for n in terms.__slots__}, "box": terms.box * math.nan})
            if next(calls) in times
            else terms
        )

    monkeypatch.setattr(trainer.stepper, "_loss", call)


def test_a_step_with_a_loss_that_is_no_number_changes_nothing_and_is_counted(
    tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(tiny_dataset)
    broken_loss(trainer, [0], monkeypatch)
    before = {name: value.clone() for name, value in trainer.detector.state_dict().items()}
    steps = trainer.epoch(1)
    first = next(steps)
    assert first.skipped == "box"
    after = trainer.detector.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [step.skipped for step in steps] == [None, None]
    sums = trainer.end_epoch(1)
    assert (sums.skipped, sums.counted) == (1, 2)
    assert all(map(math.isfinite, sums.means().values()))


def test_steps_in_a_row_that_are_not_finite_end_the_training_as_diverged_with_the_term(
    tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(tiny_dataset, training__most_skipped=2)
    broken_loss(trainer, [0, 1], monkeypatch)
    with pytest.raises(
        Diverged, match=r"loss term box is not finite in 2 steps in a row, up to epoch 1, step 2"
    ) as told:
        list(trainer.epoch(1))
    assert told.value.term == "box"


def test_skipped_steps_with_a_good_one_between_them_do_not_end_the_training(
    tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(tiny_dataset, training__most_skipped=2)
    broken_loss(trainer, [0, 2], monkeypatch)
    assert [step.skipped for step in trainer.epoch(1)] == ["box", None, "box"]


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_an_epoch_has_a_step_for_so_many_batches(
    accumulate: int, tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(tiny_dataset, training__accumulate=accumulate)
    taken: list[int] = []
    original: Callable[..., Any] = trainer.stepper.step

    def counted(batches: Any) -> Any:
        taken.append(len(batches))
        return original(batches)

    monkeypatch.setattr(trainer.stepper, "step", counted)
    steps = list(trainer.epoch(1))
    assert taken == {1: [1, 1, 1], 2: [2, 1], 3: [3]}[accumulate]
    assert len(steps) == trainer.steps


def test_a_frozen_backbone_neither_learns_nor_counts_statistics_until_its_epochs_are_over(
    tiny_dataset: Dataset,
) -> None:
    trainer = trainer_of(tiny_dataset, training__frozen_epochs=1, training__windows_per_epoch=4)
    before = {name: value.clone() for name, value in trainer.detector.backbone.state_dict().items()}
    head = {name: value.clone() for name, value in trainer.detector.head.state_dict().items()}
    list(trainer.epoch(1))
    trainer.end_epoch(1)
    frozen = trainer.detector.backbone.state_dict()
    assert all(torch.equal(before[name], frozen[name]) for name in before)
    assert not all(torch.equal(head[name], value) for name, value in trainer.detector.head.state_dict().items())
    list(trainer.epoch(2))
    assert not all(torch.equal(before[n], value) for n, value in trainer.detector.backbone.state_dict().items())


def test_a_team_reports_the_terms_of_the_whole_batch_and_skips_a_step_that_is_not_finite_anywhere(
    tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(tiny_dataset)

    class Other:
        """A team whose other process has the same terms, except for these."""

        ranks, device = 2, CPU

        def __init__(self, box: float) -> None:
            self.box = box

        def mean_by_name(self, values: dict[str, float]) -> dict[str, float]:
            return {**values, "box": (values["box"] + self.box) / 2}

    trainer.detector.train()
    batch = next(trainer.loader.epoch(1))
    monkeypatch.setattr(trainer.stepper, "_team", Other(1e6))
    result = trainer.stepper.step([batch])
    assert result.skipped is None
    assert 5e5 < result.loss["box"] < 6e5
    monkeypatch.setattr(trainer.stepper, "_team", Other(math.inf))
    assert trainer.stepper.step([batch]).skipped == "box"
