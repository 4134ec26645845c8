"""The harness of the search benchmark: virtual time, scores, regrets and what is made of them."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))  # benchmarks/ is no package that is installed

from benchmarks.search_job import SAMPLE, Job, Runs
from benchmarks.search_objectives import dominated, front
from benchmarks.search_regret import Cells, mean, ratio, regrets
from benchmarks.search_simulation import Outcome, Simulation, Trial, best_observed
from benchmarks.search_surrogate import EPOCHS, Config, Curve, Parameter, spread
from benchmarks.search_verdicts import verdicts
from tuner.samplers.observation import Stage
from tuner.schedulers.decision import Decision


class Trainings:
    """Accuracy is gain times epoch; an epoch takes as long as is told."""

    def train(self, _task: str, config: Config) -> Curve:
        epochs = np.arange(1, EPOCHS + 1, dtype=np.float64)
        return Curve(config["gain"] * epochs, np.full(EPOCHS, float(config["seconds"])))


class Script:
    """Proposes what is written, pauses at epochs that are written, and stops nothing."""

    def __init__(self, configs: Sequence[Config], pauses: Sequence[int] = ()) -> None:
        self._configs, self._pauses = configs, pauses
        self.reports: list[tuple[int, int, float]] = []
        self.ended: list[int] = []

    def next(self, trials: Sequence[Trial]) -> int | Config:
        waiting = [trial.number for trial in trials if trial.stage is Stage.WAITING]
        return waiting[0] if waiting else self._configs[len(trials) % len(self._configs)]

    def report(self, trial: Trial, epoch: int, value: float) -> Decision:
        self.reports.append((trial.number, epoch, value))
        return Decision.PAUSE if epoch in self._pauses else Decision.CONTINUE

    def end(self, trial: Trial) -> None:
        self.ended.append(trial.number)

    def choose(self, trials: Sequence[Trial]) -> int:
        return best_observed(trials)


def searched(script: Script, budget: int, noise: float = 0.0) -> Outcome:
    return Simulation(script, Trainings(), Job("script", "task", 0, noise, budget)).run()  # type: ignore[arg-type]


def test_four_equal_workers_share_the_budget_and_scores_are_read_at_a_quarter_a_half_and_the_end() -> None:
    script = Script([{"gain": 1.0, "seconds": 1.0}])
    outcome = searched(script, budget=4)
    # 208 epochs: four trials side by side, which are at epoch 13, 26 and 52 when 52, 104 and 208 are done.
    assert outcome.scores == [13.0, 26.0, 52.0]
    assert sorted(script.ended) == [0, 1, 2, 3]


def test_a_quick_configuration_reports_more_often_in_the_same_time() -> None:
    quick, slow = {"gain": 1.0, "seconds": 1.0}, {"gain": 1.0, "seconds": 3.0}
    script = Script([quick, slow, slow, slow])
    searched(script, budget=1)
    # Six seconds make 6 + 3 x 2 epochs; after 24 s, 48 of the 52 are done.
    after = [number for number, _, _ in script.reports[:48]]
    assert [after.count(number) for number in range(4)] == [24, 8, 8, 8]


def test_a_paused_trial_goes_on_at_the_epoch_after_its_last() -> None:
    script = Script([{"gain": 1.0, "seconds": 1.0}], pauses=[2])
    outcome = searched(script, budget=1)
    assert [epoch for number, epoch, _ in script.reports if number == 0][:4] == [1, 2, 3, 4]
    assert outcome.resumed == 4
    assert outcome.trials == 4


def test_noise_decides_what_is_chosen_and_never_what_it_is_worth() -> None:
    script = Script([{"gain": 0.0, "seconds": 1.0}])
    outcome = searched(script, budget=4, noise=1.0)
    assert outcome.scores == [0.0, 0.0, 0.0]
    values = [value for _, _, value in script.reports]
    assert np.std(values) == pytest.approx(1.0, abs=0.2)
    assert script.reports == repeated(noise=1.0)


def repeated(noise: float) -> list[tuple[int, int, float]]:
    script = Script([{"gain": 0.0, "seconds": 1.0}])
    searched(script, budget=4, noise=noise)
    return script.reports


@pytest.mark.parametrize(
    ("parameter", "share", "value"),
    [
        (Parameter("real", 0.0, 2.0, log=False, integer=False), 0.25, 0.5),
        (Parameter("real", 1e-4, 1.0, log=True, integer=False), 0.5, 1e-2),
        (Parameter("count", 1, 5, log=False, integer=True), 0.0, 1),  # each of five has a fifth
        (Parameter("count", 1, 5, log=False, integer=True), 0.21, 2),
        (Parameter("count", 1, 5, log=False, integer=True), 0.999, 5),
    ],
)
def test_a_share_of_a_range_is_the_value_there(parameter: Parameter, share: float, value: float) -> None:
    assert parameter.at(share) == pytest.approx(value)


def test_tasks_are_spread_over_their_order() -> None:
    assert spread(list("abcdefgh"), 4) == list("aceg")
    assert spread(list("abc"), 9) == list("abc")


def stored(file: Path | None = None) -> Runs:
    runs = Runs(file)
    runs.add(Job(SAMPLE, "task"), {"best": 90.0, "median": 80.0})
    runs.add(Job("ours", "task"), {"scores": [70.0, 85.0, 95.0]})
    runs.add(Job("peer", "task", neighbours=("other",)), {"scores": [80.0, 80.0, 80.0]})
    return runs


def test_regret_is_nought_for_the_best_of_all_searches_and_one_for_the_median() -> None:
    runs = stored()
    # The best anyone found is 95, so a point is a fifteenth.
    assert regrets(runs, [Job("ours", "task")])["task", 0] == pytest.approx([25 / 15, 10 / 15, 0.0])
    assert regrets(runs, [Job("peer", "task", neighbours=("other",))])["task", 0] == pytest.approx([1.0, 1.0, 1.0])


def test_runs_are_found_again_in_their_file(tmp_path: Path) -> None:
    stored(tmp_path / "runs.jsonl")
    again = Runs(tmp_path / "runs.jsonl")
    assert again[Job("ours", "task")] == {"scores": [70.0, 85.0, 95.0]}
    assert Job("peer", "task", neighbours=("other",)) in again
    assert Job("peer", "task") not in again


def cells(*values: float) -> Cells:
    return {("task", seed): np.full(3, value) for seed, value in enumerate(values)}


def test_a_mean_of_noughts_and_ones_has_the_binomial_interval() -> None:
    estimate = mean(cells(*[0.0, 1.0] * 50), 0)
    assert estimate.value == 0.5
    # Of 100 draws with probability 1/2: standard deviation 0.05.
    assert [estimate.low, estimate.high] == pytest.approx([0.402, 0.598], abs=0.015)


def test_a_ratio_is_paired_so_what_both_share_does_not_widen_it() -> None:
    estimate = ratio(cells(0.5, 5.0, 50.0), cells(1.0, 10.0, 100.0, 1000.0), 2)  # the fourth seed is not ours
    assert [estimate.value, estimate.low, estimate.high] == pytest.approx([0.5, 0.5, 0.5])


def test_the_best_rival_is_the_one_that_ours_must_beat_with_intervals_apart() -> None:
    ours, near, far = cells(0.3, 0.5, 0.4), cells(0.9, 1.1, 1.0), cells(2.0, 2.0, 2.0)
    row = verdicts(0.0, ours, {"far": far, "near": near, "random": cells(0.1, 0.1, 0.1)})[0]
    assert row["figure"] == "regret, best rival (near)"
    assert row["ratio"] == pytest.approx(0.4)
    assert row["holds"]
    overlapping = verdicts(0.0, cells(0.0, 1.2, 0.0), {"near": near})[0]
    assert overlapping["ratio"] == pytest.approx(0.4)
    assert not overlapping["holds"]


def test_a_rival_of_few_seeds_has_a_row_of_its_own() -> None:
    rows = verdicts(0.0, cells(0.3, 0.5), {"slow": cells(0.4), "full": cells(1.0, 1.0)})
    assert [row["figure"] for row in rows[:2]] == ["regret, best rival (full)", "regret, slow (few seeds)"]
    assert [row["ratio"] for row in rows[:2]] == [pytest.approx(0.4), pytest.approx(0.75)]  # of the seed it has


def test_under_noise_ours_may_be_worse_than_a_rival_only_within_the_interval() -> None:
    within = verdicts(1.0, cells(0.5, 1.6, 1.2), {"peer": cells(1.0, 1.0, 1.0)})
    assert [row["holds"] for row in within] == [False, True]
    assert [row["holds"] for row in verdicts(1.0, cells(1.2, 1.3), {"peer": cells(1.0, 1.0)})] == [False, False]


def test_the_dominated_area_is_that_of_the_stairs_under_the_front() -> None:
    points = np.array([[1.0, 1.0], [2.0, 4.0], [3.0, 3.0], [4.0, 2.0], [4.0, 1.0]])
    assert front(points) == [3, 2, 1]
    # Stairs of widths 4, 3 and 2 from (0, 1) on, each one high.
    assert dominated(points, np.array([0.0, 1.0])) == 4 + 3 + 2
