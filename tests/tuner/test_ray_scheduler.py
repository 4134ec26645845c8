"""A real Ray run whose trials pause at rungs and are taken up again, and what it costs Ray."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import tune
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from ray.tune.utils.object_cache import _ObjectCache

from tuner.ray_scheduler import IDLE_S, RayScheduler
from tuner.schedulers.build import build_scheduler
from tuner.schedulers.decision import Decision, Past, Rung, Scheduler
from tuner.schedulers.names import SchedulerName

TRIALS, EPOCHS, GRACE, ETA, WORKERS = 15, 9, 1, 3, 2
RUNGS = (1, 3)
PROTECTED = 0
START_S = 60.0  # that the second worker may take


def value(number: int, epoch: int) -> float:
    """Of a trial after an epoch; no two are equal, and the order changes from rung to rung."""
    return (number * 7 % TRIALS + 1) / TRIALS * (1 - 0.5 ** (epoch * (1 + number % 3))) + number * 1e-6


def trained(config: dict[str, Any]) -> None:
    """A training by formula that writes down every epoch it trains, and where it began."""
    number, first, diary = config["number"], 1, Path(config["diary"])
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state.json"
        if config["files"] is not None:
            tune.Checkpoint(config["files"]).to_directory(folder)
            first = json.loads(state.read_text())["epoch"] + 1
        for epoch in range(first, EPOCHS + 1):
            with (diary / str(number)).open("a") as page:
                page.write(f"{epoch} {first} {os.getpid()}\n")
            deadline = time.monotonic() + START_S
            while number == 0 and not (diary / "1").exists() and time.monotonic() < deadline:
                time.sleep(0.01)  # until there are two workers
            state.write_text(json.dumps({"epoch": epoch}))
            tune.report(
                {"epoch": epoch, "map": value(number, epoch)}, checkpoint=tune.Checkpoint.from_directory(folder)
            )


@dataclass
class Noted:
    """A scheduler that notes what it is asked, and what it answers."""

    inner: Scheduler
    notes: list[tuple[Any, ...]] = field(default_factory=list)

    def report(self, number: int, epoch: int, value: float) -> Decision:
        decision = self.inner.report(number, epoch, value)
        self.notes.append(("report", number, epoch, value, decision))
        return decision

    def promote(self) -> int | None:
        promoted = self.inner.promote()
        self.notes.append(("promote", promoted))
        return promoted

    def end(self, number: int) -> None:
        self.inner.end(number)

    def restore(self, trials: Iterable[Past]) -> None:
        self.inner.restore(trials)

    def rungs(self) -> list[Rung]:
        return self.inner.rungs()


class Driver(Searcher):
    """Gives Ray a promoted trial with its files, or else the next new one; and decides on reports."""

    def __init__(self, scheduler: Scheduler, diary: Path) -> None:
        super().__init__(metric="map", mode="max")
        self.scheduler, self.diary = scheduler, diary
        self.begun = self.running = 0
        self.legs: dict[int, int] = {}
        self.files: dict[int, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # noqa: ARG002
        if self.running == WORKERS:
            return None
        number = self.scheduler.promote()
        if number is None:
            if self.begun == TRIALS:
                return None if self.running else str(Searcher.FINISHED)
            number, self.begun = self.begun, self.begun + 1
        self.running += 1
        self.legs[number] = self.legs.get(number, 0) + 1
        files = self.files.get(number)
        return {"number": number, "leg": self.legs[number], "files": files, "diary": str(self.diary)}

    def decide(self, trial: Trial, result: dict[str, Any]) -> Decision:
        number, epoch = trial.config["number"], result["epoch"]
        self.files[number] = f"{trial.path}/{result['checkpoint_dir_name']}"
        return self.scheduler.report(number, epoch, result["map"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:  # noqa: ARG002
        self.running -= 1
        assert not error

    def save(self, checkpoint_path: str) -> None:
        pass


@dataclass(frozen=True)
class Run:
    """What is left of the run."""

    trials: list[Trial]
    notes: list[tuple[Any, ...]]
    rungs: list[Rung]
    diary: dict[int, list[tuple[int, int, int]]]  # by number: epoch, first of its worker, process
    folder: Path
    snapshots: int


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Fifteen trials of nine epochs on two workers, rungs after epochs 1 and 3; trial 0 is protected."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "diary").mkdir()
    asha = build_scheduler(
        SchedulerName.PROMOTION,
        epochs=EPOCHS,
        grace=GRACE,
        reduction_factor=ETA,
        seed=0,
        protected=frozenset({PROTECTED}),
    )
    noted = Noted(asha)
    driver = Driver(noted, folder / "diary")
    saved: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("TUNE_GLOBAL_CHECKPOINT_S", "1000000")
        patch.setenv("TUNE_MAX_PENDING_TRIALS_PG", str(WORKERS))
        patch.setattr(TuneController, "save_to_dir", _noting(TuneController.save_to_dir, saved))
        ray.init(
            address="local",
            num_cpus=WORKERS,
            include_dashboard=False,
            object_store_memory=100_000_000,
            log_to_driver=False,
        )
        try:
            found = _tuned(driver, folder)
        finally:
            ray.shutdown()
    diary = {
        int(page.name): [_entry(line) for line in page.read_text().splitlines()]
        for page in (folder / "diary").iterdir()
    }
    return Run(found, noted.notes, asha.rungs(), diary, folder, len(saved))


def _noting(save: Callable[[TuneController], None], saved: list[float]) -> Callable[[TuneController], None]:
    def noted(controller: TuneController) -> None:
        saved.append(time.monotonic())
        save(controller)

    return noted


def _tuned(driver: Driver, folder: Path) -> list[Trial]:
    tuner = tune.Tuner(
        tune.with_resources(trained, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=driver,
            scheduler=RayScheduler(driver.decide),
            num_samples=1_000_000,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"{trial.config['number']:04d}.{trial.config['leg']}",
        ),
        run_config=tune.RunConfig(name="trials", storage_path=str(folder), verbose=0),
    )
    trials: list[Trial] = tuner.fit()._experiment_analysis.trials
    return trials


def _entry(line: str) -> tuple[int, int, int]:
    epoch, first, process = map(int, line.split())
    return epoch, first, process


def test_every_trial_goes_on_where_it_paused_and_no_epoch_is_trained_twice(run: Run) -> None:
    assert sorted(run.diary) == list(range(TRIALS))
    for number, entries in run.diary.items():
        epochs = [epoch for epoch, _, _ in entries]
        assert epochs == list(range(1, epochs[-1] + 1)), number
        begun = sorted({first for _, first, _ in entries})
        paused = [] if number == PROTECTED else [rung + 1 for rung in RUNGS if rung < epochs[-1]]
        assert begun == [1, *paused], number


def test_a_trial_ends_at_a_rung_or_at_its_last_epoch(run: Run) -> None:
    assert {entries[-1][0] for entries in run.diary.values()} <= {*RUNGS, EPOCHS}
    assert run.diary[PROTECTED][-1][0] == EPOCHS


def test_all_promotions_are_those_of_a_replay(run: Run) -> None:
    """Against algorithm 2 of the paper, written down as it stands, over the same reports and free workers."""
    rungs: dict[int, dict[int, float]] = {rung: {} for rung in RUNGS}
    promoted: dict[int, set[int]] = {rung: {PROTECTED} for rung in RUNGS}
    for kind, *told in run.notes:
        if kind == "report":
            number, epoch, reported, decision = told
            assert reported == value(number, epoch)
            assert decision is (Decision.PAUSE if epoch in RUNGS and number != PROTECTED else Decision.CONTINUE)
            if epoch in RUNGS:
                rungs[epoch][number] = reported
        else:
            expected = _promoted(rungs, promoted)
            assert told == [expected[1] if expected else None]
            if expected:
                promoted[expected[0]].add(expected[1])
    assert [(rung.epoch, rung.values, set(rung.promoted)) for rung in run.rungs] == [
        (rung, rungs[rung], promoted[rung] & set(rungs[rung])) for rung in RUNGS
    ]
    assert len(rungs[1]) == TRIALS


def _promoted(rungs: dict[int, dict[int, float]], promoted: dict[int, set[int]]) -> tuple[int, int] | None:
    for rung in reversed(RUNGS):
        values = rungs[rung]
        best = sorted(values, key=lambda number: -values[number])[: len(values) // ETA]
        for number in best:
            if number not in promoted[rung]:
                return rung, number
    return None


def test_in_the_end_the_best_third_of_every_rung_has_been_promoted(run: Run) -> None:
    for rung in RUNGS:
        values = {number: value(number, rung) for number, entries in run.diary.items() if entries[-1][0] >= rung}
        best = sorted(values, key=lambda number: -values[number])[: len(values) // ETA]
        assert all(run.diary[number][-1][0] > rung for number in best)


def test_workers_are_used_again_and_again(run: Run) -> None:
    legs = {(number, first): process for number, entries in run.diary.items() for _, first, process in entries}
    assert len(legs) > TRIALS
    assert len(set(legs.values())) <= WORKERS  # one does it all where the other's start takes longer


def test_every_trial_of_rays_ends_and_keeps_its_last_checkpoint_alone(run: Run) -> None:
    assert {trial.status for trial in run.trials} == {Trial.TERMINATED}
    for trial in run.trials:
        kept = [folder.name for folder in Path(trial.path).glob("checkpoint_*")]
        assert len(kept) == 1, trial
        last = json.loads((Path(trial.path) / kept[0] / "state.json").read_text())["epoch"]
        number, leg = trial.config["number"], trial.config["leg"]
        begun = sorted({first for _, first, _ in run.diary[number]})
        ends = [first - 1 for first in begun[1:]] + [run.diary[number][-1][0]]
        assert last == ends[leg - 1]


def test_ray_writes_no_snapshot_for_a_checkpoint(run: Run) -> None:
    reports = sum(len(entries) for entries in run.diary.values())
    assert reports > 40
    assert run.snapshots <= 2  # at the beginning and at the end


def test_an_ended_trial_holds_no_running_averages(run: Run) -> None:
    assert all(not trial.metric_analysis and not trial.metric_n_steps for trial in run.trials)


@pytest.mark.parametrize(
    ("decision", "rays"),
    [
        (Decision.CONTINUE, TrialScheduler.CONTINUE),
        (Decision.PAUSE, TrialScheduler.STOP),
        (Decision.STOP, TrialScheduler.STOP),
    ],
)
def test_a_pause_ends_rays_trial_as_a_stop_does(decision: Decision, rays: str) -> None:
    assert RayScheduler(lambda *_: decision).on_trial_result(None, None, {}) == rays


class Cache:
    """The workers that Ray keeps for trials to come."""

    def __init__(self, workers: list[Any]) -> None:
        self.workers = workers

    @property
    def num_cached_objects(self) -> int:
        return len(self.workers)

    def flush_cached_objects(self, force_all: bool) -> list[Any]:
        assert force_all
        taken, self.workers = self.workers, []
        return taken


@pytest.mark.parametrize(("is_shared", "pending", "removed"), [(True, False, 1), (True, True, 0), (False, False, 0)])
def test_a_worker_without_work_is_given_back_where_others_wait(is_shared: bool, pending: bool, removed: int) -> None:
    """Ray itself would keep it, with all that it has reserved, until the search ends."""
    now, gone = [0.0], []
    worker = SimpleNamespace(set_on_stop=lambda _: None, set_on_error=lambda _: None)
    cache = Cache([worker])
    inner = SimpleNamespace(_actor_cache=cache, _remove_actor=lambda tracked_actor: gone.append(tracked_actor))
    trials = [SimpleNamespace(status=Trial.PENDING)] if pending else []
    controller = SimpleNamespace(_tune_controller=inner, get_live_trials=lambda: trials)
    scheduler = RayScheduler(lambda *_: Decision.CONTINUE, lambda: is_shared, lambda: now[0])
    scheduler.choose_trial_to_run(controller)
    assert gone == []  # the next trial may be about to come
    now[0] = IDLE_S
    scheduler.choose_trial_to_run(controller)
    assert gone == [worker] * removed


def test_ray_still_keeps_its_workers_where_they_are_given_back_from() -> None:
    assert hasattr(TuneController, "_remove_actor")
    assert hasattr(_ObjectCache, "flush_cached_objects")
    assert hasattr(_ObjectCache, "num_cached_objects")
