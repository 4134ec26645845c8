"""The engine: what comes next, what is decided, and that a later process goes on as if nothing had happened."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from optuna.storages import BaseStorage, InMemoryStorage

from tuner.assembly import engine_of, scheduler_of
from tuner.engine import FRUITLESS, Engine
from tuner.ledger import Ledger
from tuner.schedulers.decision import Decision, Rung, Scheduler
from tuner.spec.search_spec import SearchSpec, load_spec
from tuner.study.record import DEFAULT_TRIAL, TrialKind, TrialRecord, TrialState
from tuner.study.study import Study

EPOCHS = 9
SPEC = """\
name: tiny
base: {loss.box: 1}
space:
  loss.box: {uniform: [2, 15]}
  optimizer.name: {choice: [sgd, adamw]}
sampler: {name: random, seed: 3}
scheduler: {name: promotion, grace: 1, reduction_factor: 3}
budget: {trials: 12, epochs: 9}
"""


def value_at(box: float, epoch: int) -> float:
    return box / 20 * (1 - 0.5**epoch)


class Bench:
    """Trains by formula with two workers, one epoch of one of them at a time."""

    def __init__(self, folder: Path, text: str = SPEC, clock: Callable[[], float] = lambda: 0.0) -> None:
        (folder / "spec.yaml").write_text(text)
        self.spec: SearchSpec = load_spec(folder / "spec.yaml")
        self.storage: BaseStorage = InMemoryStorage()
        self.folder, self.clock = folder, clock
        self.epochs: list[tuple[int, int]] = []  # trained, in order: trial and epoch
        self.study = Study.create(folder, self.spec, "tiny-1", self.storage)
        self.failing: Callable[[TrialRecord], str | None] = lambda _: None
        self._engine()

    def _engine(self) -> None:
        self.scheduler: Scheduler = scheduler_of(self.spec)
        ledger = Ledger(self.spec, self.study.clock_s, self.clock)
        self.engine: Engine = engine_of(self.spec, self.study, self.scheduler, ledger, 2)
        self.running: list[int] = []

    def die(self) -> None:
        """A new process finds the study, and nothing else."""
        study_id = self.storage.get_study_id_from_name("tiny-1")
        self.study = Study(self.storage, study_id, "tiny-1", self.spec)
        self._engine()

    def fill(self) -> None:
        while len(self.running) < 2 and (record := self.engine.next()) is not None:
            self.running.append(record.number)

    def step(self, number: int) -> Decision:
        record = self.study.trial(number)
        epoch, epochs = record.last_epoch + 1, int(record.config["training.epochs"])
        value = value_at(float(record.config["loss.box"]), epoch)
        metrics = {"epoch": epoch, "map": value, "map50": value, "map75": value, "best": 1.0, "last": epoch == epochs}
        metrics |= {"loss": 1.0, "steps": 5, "skipped_steps": 0}
        self.epochs.append((number, epoch))
        _, decision, why = self.engine.report(number, metrics, f"trials/{number}", float(epoch))
        if epoch == epochs:
            self.leave(number, TrialState.COMPLETE)
        elif decision is not Decision.CONTINUE:
            self.leave(number, TrialState.PAUSED if decision is Decision.PAUSE else TrialState.STOPPED, why)
        return decision

    def leave(self, number: int, state: TrialState, error: str | None = None) -> None:
        self.running.remove(number)
        self.engine.ended(number, state, error)

    def finish(self, deaths: float = 0.0, seed: int = 0) -> Sequence[TrialRecord]:
        """Run to the end; after each epoch the process dies with this probability."""
        chance = random.Random(seed)
        while True:
            self.fill()
            if not self.running:
                break
            self.step(chance.choice(self.running))
            if chance.random() < deaths:
                self.die()
        assert self.engine.finished
        self.engine.close("over")
        return self.study.trials()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def unpromoted(rungs: Sequence[Rung]) -> list[tuple[int, int, dict[int, float]]]:
    return [(rung.bracket, rung.epoch, dict(rung.values)) for rung in rungs]


def test_a_search_ends_with_its_budget_of_trials_and_nothing_waiting(bench: Bench) -> None:
    records = bench.finish()
    assert len(records) == 12
    assert {record.state for record in records} == {TrialState.COMPLETE, TrialState.STOPPED}
    # Rungs at 1 and 3; every trial ends at one of them or has all 9 epochs.
    assert {record.epochs for record in records} <= {1, 3, EPOCHS}


def test_the_default_comes_first_samples_nothing_and_has_its_whole_budget(bench: Bench) -> None:
    default = bench.finish()[DEFAULT_TRIAL]
    assert (default.sampled, default.state, default.epochs) == ({}, TrialState.COMPLETE, EPOCHS)


def test_given_configurations_come_next_and_then_the_sampler_s(tmp_path: Path) -> None:
    start = "start_with: [{loss: {box: 14}}, {optimizer.name: adamw, loss.box: 3}]\n"
    records = Bench(tmp_path, SPEC + start).finish()
    assert records[1].sampled == {"loss.box": 14.0}
    assert records[2].sampled == {"optimizer.name": "adamw", "loss.box": 3.0}
    assert set(records[3].sampled) == {"loss.box", "optimizer.name"}


@pytest.mark.parametrize("seed", range(6))
def test_a_search_that_dies_again_and_again_does_each_epoch_once_and_its_rungs_are_a_replay_s(
    tmp_path: Path, seed: int
) -> None:
    bench = Bench(tmp_path)
    records = bench.finish(deaths=0.3, seed=seed)
    assert len(bench.epochs) == len(set(bench.epochs))
    assert len(records) == 12
    assert {record.state for record in records} == {TrialState.COMPLETE, TrialState.STOPPED}
    # The default's are rung values as well: it is compared with, and never waits.
    expected = {
        rung: {r.number: value_at(float(r.config["loss.box"]), rung) for r in records if r.epochs >= rung}
        for rung in (1, 3)
    }
    assert unpromoted(bench.scheduler.rungs()) == [(0, rung, values) for rung, values in expected.items()]


def test_the_same_configurations_are_drawn_with_and_without_deaths(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    calm, deadly = Bench(tmp_path / "a").finish(), Bench(tmp_path / "b").finish(deaths=0.5)
    assert [record.sampled for record in calm] == [record.sampled for record in deadly]


def test_a_trial_that_was_running_is_handed_out_again_with_its_files(bench: Bench) -> None:
    bench.fill()
    assert bench.step(DEFAULT_TRIAL) is Decision.CONTINUE
    bench.die()
    first, second = bench.engine.next(), bench.engine.next()
    assert first is not None
    assert (first.number, first.files, first.last_epoch, first.legs) == (DEFAULT_TRIAL, "trials/0", 1, 2)
    assert second is not None
    assert (second.number, second.files, second.legs) == (1, None, 2)


def test_a_trial_promoted_before_its_worker_let_go_is_handed_out_only_afterwards(tmp_path: Path) -> None:
    bench = Bench(tmp_path, SPEC.replace("reduction_factor: 3", "reduction_factor: 2"))
    bench.engine.next()  # the default
    trial, other = bench.engine.next(), bench.engine.next()
    assert trial is not None
    assert other is not None
    bench.running = [0, 1, 2]
    bench.step(0)
    best = max((1, 2), key=lambda n: float(bench.study.trial(n).config["loss.box"]))
    _, decision, _ = bench.engine.report(
        best,
        {"epoch": 1, "map": 0.9, "map50": 0.9, "map75": 0.9, "best": 1.0, "loss": 1, "steps": 1, "skipped_steps": 0},
        "files",
        1.0,
    )
    assert decision is Decision.PAUSE
    assert bench.engine.next() is None  # the best is to go on, and its worker still has it
    bench.engine.ended(best, TrialState.PAUSED)
    again = bench.engine.next()
    assert again is not None
    assert (again.number, again.legs) == (best, 2)


def test_a_worker_that_dies_is_replaced_and_a_trial_that_kills_three_has_failed(bench: Bench) -> None:
    bench.fill()
    for _ in range(FRUITLESS - 1):
        assert bench.engine.lost(0, "killed", with_node=False).state is TrialState.PREEMPTED
        again = bench.engine.next()
        assert again is not None
        assert again.number == 0
    assert bench.engine.lost(0, "killed", with_node=False).state is TrialState.FAILED
    assert bench.study.trial(0).error == "its worker died 3 times before the first epoch: killed"


def test_nodes_that_go_never_count_as_failures_and_an_epoch_clears_a_worker_s_deaths(bench: Bench) -> None:
    bench.fill()
    for _ in range(10):
        assert bench.engine.lost(0, "its node is gone", with_node=True).state is TrialState.PREEMPTED
        bench.engine.next()
    for _ in range(5):
        bench.step(0)
        assert bench.engine.lost(0, "killed", with_node=False).state is TrialState.PREEMPTED
        bench.engine.next()


def test_a_total_of_epochs_ends_the_search_and_its_running_trials(tmp_path: Path) -> None:
    bench = Bench(tmp_path, SPEC.replace("epochs: 9}", "epochs: 9, total_epochs: 15}"))
    records = bench.finish()
    assert len(bench.epochs) == 15
    assert bench.engine.closing == "budget.total_epochs=15 is spent"
    assert not any(record.state in (TrialState.RUNNING, TrialState.PAUSED) for record in records)


def test_nothing_is_begun_that_cannot_reach_its_first_rung_in_time(tmp_path: Path) -> None:
    """Each epoch takes 60 s of the clock and there are 0.1 hours: six epochs."""
    now = [0.0]
    text = SPEC.replace("grace: 1", "grace: 3").replace("epochs: 9}", "epochs: 9, hours: 0.1}")
    bench = Bench(tmp_path, text, lambda: now[0])
    bench.fill()
    for _ in range(4):
        now[0] += 60
        record = bench.study.trial(0)
        epoch = record.last_epoch + 1
        metrics = {"epoch": epoch, "map": 0.1, "map50": 0.1, "map75": 0.1, "best": 1.0}
        bench.engine.report(0, {**metrics, "loss": 1, "steps": 1, "skipped_steps": 0}, None, 60.0 * epoch)
    bench.engine.ended(1, TrialState.FAILED, "to have a free worker")
    assert bench.engine.next() is None  # two minutes are left, and the first rung is three epochs away


def test_a_plateau_ends_the_search(tmp_path: Path) -> None:
    text = SPEC.replace("trials: 12, epochs: 9}", "trials: 100, epochs: 9, plateau: {trials: 5, min_gain: 0.5}}")
    records = Bench(tmp_path, text).finish()
    # Nothing lifts the best by half an mAP: it ends when five trials after the first have left their workers.
    assert 6 <= len(records) <= 8


def test_a_grid_ends_when_all_of_it_has_been_tried(tmp_path: Path) -> None:
    text = SPEC.replace("{name: random, seed: 3}", "{name: grid}").replace("{uniform: [2, 15]}", "{integer: [2, 4]}")
    records = Bench(tmp_path, text.replace("trials: 12", "trials: 50")).finish()
    tried = [(record.sampled["loss.box"], record.sampled["optimizer.name"]) for record in records[1:]]
    assert sorted(tried) == [(box, name) for box in (2, 3, 4) for name in ("adamw", "sgd")]


def test_the_best_are_trained_again_with_other_seeds_when_the_search_is_over(tmp_path: Path) -> None:
    bench = Bench(tmp_path, SPEC + "repeat: {top: 2, seeds: 3}\n")
    records = bench.finish(deaths=0.2)
    repeats = [record for record in records if record.origin.kind is TrialKind.REPEAT]
    complete = [r for r in records if r.state is TrialState.COMPLETE and r.origin.kind is TrialKind.SEARCH]
    top = sorted(complete, key=lambda r: -float(r.config["loss.box"]))[:2]
    assert sorted((r.origin.repeats, r.seed) for r in repeats) == sorted((t.number, s) for t in top for s in (1, 2, 3))
    assert {(r.state, r.epochs) for r in repeats} == {(TrialState.COMPLETE, EPOCHS)}
    assert min(r.number for r in repeats) == 12


def test_a_dead_net_is_stopped_and_the_reason_is_kept(bench: Bench) -> None:
    bench.fill()
    told = "ERROR dead_layer: neurons of stem never fire"
    for epoch in (1, 2):
        metrics = {"epoch": epoch, "map": 0.0, "map50": 0.0, "map75": 0.0, "best": 1.0}
        _, decision, why = bench.engine.report(
            0, {**metrics, "loss": 1, "steps": 1, "skipped_steps": 0}, None, 1.0, diagnosis=told
        )
        assert (decision, why) == (Decision.CONTINUE, None)  # the default is left alone
    assert bench.study.trial(0).diagnosis == told


def test_trials_that_end_where_they_wait_are_told_once(bench: Bench) -> None:
    records = bench.finish()
    told = bench.engine.take_closed()
    waited = {record.number for record in records if record.state is TrialState.STOPPED}
    assert {record.number for record in told} == waited
    assert {record.state for record in told} == {TrialState.STOPPED}
    assert bench.engine.take_closed() == []
