"""Why a trial ended: places and cuts by paper and pencil, and what the live schedulers decided, found again."""

import dataclasses
import itertools
import math
import random
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from tests.tuner.search_records import spec_of
from tests.tuner.studied_search import StudiedSearch, repeat_of
from tuner.assembly import scheduler_of
from tuner.explanation.comparison import against_median, at_rungs
from tuner.explanation.display import curve_told, sparkline
from tuner.explanation.explain import explain
from tuner.explanation.reason import Cause, ordinal, reason_of
from tuner.history import SearchHistory, read_history
from tuner.leaves import load_config
from tuner.result import SearchResult
from tuner.schedulers.decision import Decision
from tuner.schedulers.names import SchedulerName
from tuner.search_folder import Identity, held
from tuner.spec.search_spec import SearchSpec
from tuner.study.history import TrialHistory
from tuner.study.record import Origin, Told, TrialRecord, TrialState

ASHA = "scheduler: {name: asha, grace: 2, reduction_factor: 3}\n"
PROMOTION = "scheduler: {name: promotion, grace: 2, reduction_factor: 3}\n"
BUDGET = "budget: {trials: 20, epochs: 9}\n"
# Of eleven trials at epoch 2, eight are better than 0.005; the fourth best has 0.0083.
ELEVEN = [0.03, 0.02, 0.01, 0.0083, 0.008, 0.007, 0.006, 0.0055, 0.004, 0.003, 0.0]
SENTENCE = "mAP 0.005, 9th of 12 at this rung, of which the best 4 go on; the cut was 0.0083"


def reach(search: StudiedSearch, value: float, decision: Decision, at_s: float) -> int:
    """A trial that comes to the rung of epoch 2."""
    number = search.begin(at_s)
    search.report(number, 1, value / 2, at_s + 1)
    search.report(number, 2, value, at_s + 2, decision)
    return number


def stopped_by_asha(folder: Path) -> tuple[StudiedSearch, int]:
    """Eleven trials at the rung of epoch 2, a twelfth that is stopped there, and one that comes too late to count."""
    search = StudiedSearch(folder, BUDGET + ASHA)
    for place, value in enumerate(ELEVEN):
        reach(search, value, Decision.CONTINUE, 10.0 * place)
    stopped = reach(search, 0.005, Decision.STOP, 200.0)
    search.end(stopped, TrialState.STOPPED, 203.0)
    reach(search, 0.5, Decision.CONTINUE, 300.0)
    return search, stopped


def test_a_trial_that_asha_stopped_is_told_its_place_and_the_cut_as_they_were_then(tmp_path: Path) -> None:
    _, stopped = stopped_by_asha(tmp_path)
    history = read_history(tmp_path)
    (rung,) = at_rungs(history, stopped)
    assert (rung.epoch, rung.value, rung.rank, rung.trials, rung.passing, rung.cut) == (2, 0.005, 9, 12, 4, 0.0083)
    assert rung.as_decided
    assert reason_of(history, stopped).told == f"stopped at epoch 2: {SENTENCE}"
    assert reason_of(history, stopped).cause is Cause.RUNG


def test_without_times_the_place_is_the_present_one_and_the_sentence_says_so(tmp_path: Path) -> None:
    search, stopped = stopped_by_asha(tmp_path)
    search.forget_times()
    told = reason_of(read_history(tmp_path), stopped).told
    # The late one counts: tenth of 13, whose best floor(13/3) = 4 end with 0.01.
    assert "10th of 13 at this rung, of which the best 4 go on; the cut was 0.01 (as all stand now" in told


def test_a_trial_that_was_never_promoted_is_told_how_many_were(tmp_path: Path) -> None:
    search = StudiedSearch(tmp_path, BUDGET + PROMOTION)
    numbers = [reach(search, value, Decision.PAUSE, 10.0 * place) for place, value in enumerate(ELEVEN)]
    waiting = reach(search, 0.005, Decision.PAUSE, 200.0)
    for number in numbers[:3]:
        search.take_up(number, 300.0)
        search.report(number, 3, 0.1, 310.0)
    for number in (*numbers, waiting):
        search.end(number, TrialState.STOPPED, 400.0)
    history = read_history(tmp_path)
    reason = reason_of(history, waiting)
    assert (reason.cause, reason.told) == (
        Cause.NOT_PROMOTED, f"stopped at epoch 2, not promoted: {SENTENCE}, 3 went on",
    )  # fmt: skip
    # The fourth was due, and the search ended first; the first was stopped on its way to the next rung, at epoch 6.
    assert reason_of(history, 3).cause is Cause.SEARCH_ENDED
    assert "ended before it could go on from epoch 2: mAP 0.0083, 4th of 12" in reason_of(history, 3).told
    assert reason_of(history, 0).told == "the search ended while it waited for a worker, after epoch 3"


def test_where_less_is_better_places_and_cuts_are_turned_round(tmp_path: Path) -> None:
    search = StudiedSearch(tmp_path, f"{BUDGET}{ASHA}objective: {{metric: loss, mode: min}}\n")
    for place, loss in enumerate([1.0, 2.0]):
        number = search.begin(10.0 * place)
        for epoch in (1, 2):
            search.report(number, epoch, 0.1, 10.0 * place + epoch, loss=loss)
    stopped = search.begin(50.0)
    search.report(stopped, 1, 0.9, 51.0, loss=9.0)
    search.report(stopped, 2, 0.9, 52.0, Decision.STOP, loss=3.0)
    search.end(stopped, TrialState.STOPPED, 53.0)
    told = reason_of(read_history(tmp_path), stopped).told
    assert told == "stopped at epoch 2: loss 3, 3rd of 3 at this rung, of which the best 1 go on; the cut was 1"


def test_a_trial_below_the_median_is_told_the_median_of_the_averages(tmp_path: Path) -> None:
    search = StudiedSearch(tmp_path, f"{BUDGET}scheduler: {{name: median, grace: 2}}\n")
    # Averages up to epoch 2: 0.15, 0.25, 0.35 and 0.45, whose median is 0.3.
    for place, first in enumerate((0.1, 0.2, 0.3, 0.4)):
        number = search.begin(10.0 * place)
        search.report(number, 1, first, 10.0 * place + 1)
        search.report(number, 2, first + 0.1, 10.0 * place + 2)
    stopped = search.begin(50.0)
    search.report(stopped, 1, 0.05, 51.0)
    search.report(stopped, 2, 0.29, 52.0, Decision.STOP)
    search.end(stopped, TrialState.STOPPED, 53.0)
    history = read_history(tmp_path)
    found = against_median(history, stopped)
    assert found is not None
    assert found.median == pytest.approx(0.3)
    assert (found.best, found.others) == (0.29, 4)
    assert reason_of(history, stopped).told == (
        "stopped at epoch 2: its best mAP so far, 0.29, is worse than 0.3, the median of what 4 others were on average "
        "up to this epoch"
    )


def test_a_loser_of_a_population_is_told_its_place_among_those_alive(tmp_path: Path) -> None:
    space = "space: {optimizer.lr: {log_uniform: [1e-4, 1e-2]}}\n"
    search = StudiedSearch(tmp_path, "scheduler: {name: pbt, grace: 2}\nbudget: {trials: 5, epochs: 9}\n", space=space)
    numbers = [reach(search, value, Decision.PAUSE, 10.0 * place) for place, value in enumerate((0.4, 0.3, 0.2, 0.5))]
    search.end(numbers[3], TrialState.FAILED, 100.0, "boom")  # dead: compared with no more
    loser = reach(search, 0.1, Decision.STOP, 200.0)
    search.end(loser, TrialState.STOPPED, 203.0)
    history = read_history(tmp_path)
    # Four are alive, of which the worst quarter, one, ends.
    assert reason_of(history, loser).told == (
        "stopped at epoch 2: mAP 0.1, 4th of 4 in the population, of which the best 3 go on; the cut was 0.2"
    )
    assert reason_of(history, loser).cause is Cause.POPULATION


NONE = "scheduler: {name: none}\n"


@pytest.mark.parametrize(
    ("state", "error", "decision", "cause", "says"),
    [
        (TrialState.COMPLETE, None, Decision.CONTINUE, Cause.PATIENCE, "after epoch 2 of 9, as training.patience asks"),
        (
            TrialState.STOPPED, "hopeless after epoch 2: dead-layer: all silent", Decision.STOP, Cause.HEALTH,
            "stopped by the health check: hopeless after epoch 2: dead-layer: all silent",
        ),
        (
            TrialState.STOPPED, "budget.hours=2 is spent", Decision.STOP, Cause.BUDGET,
            "stopped after epoch 2: budget.hours=2 is spent",
        ),
        (TrialState.DIVERGED, "loss is nan", Decision.CONTINUE, Cause.ERROR, "diverged after epoch 2: loss is nan"),
        (TrialState.OUT_OF_MEMORY, "16 GiB", Decision.CONTINUE, Cause.ERROR, "out of memory after epoch 2: 16 GiB"),
        (TrialState.STOPPED, None, Decision.STOP, Cause.UNKNOWN, "before it could say why"),
        (TrialState.STOPPED, None, Decision.CONTINUE, Cause.SEARCH_ENDED, "the search ended while it waited"),
    ],
    ids=lambda value: value.name if isinstance(value, Cause) else "",
)  # fmt: skip
def test_other_ends_are_told_as_they_are(
    tmp_path: Path, state: TrialState, error: str | None, decision: Decision, cause: Cause, says: str
) -> None:
    search = StudiedSearch(tmp_path, BUDGET + NONE)
    number = reach(search, 0.1, decision, 0.0)
    search.end(number, state, 10.0, error)
    reason = reason_of(read_history(tmp_path), number)
    assert reason.cause is cause
    assert says in reason.told


def test_constraints_are_told_with_how_far_they_are_broken(tmp_path: Path) -> None:
    search = StudiedSearch(tmp_path, f"{BUDGET}{NONE}constraints: [parameters <= 100, energy_uj <= 8]\n")
    search.begin(0.0)
    search.study.tag(0, violation=0.5)
    search.end(0, TrialState.INFEASIBLE, 1.0, "parameters is 150, must be parameters <= 100")
    search.begin(2.0)
    search.report(1, 1, 0.1, 3.0, parameters=50.0, energy_uj=10.0)
    history = read_history(tmp_path)
    assert reason_of(history, 0).told == (
        "broke a constraint before training: parameters is 150, must be parameters <= 100 (by 50% of the bound)"
    )
    kept, broken = explain(history, 1).constraints
    assert (kept.value, kept.violation) == (50.0, 0.0)
    assert (broken.rule, broken.value, broken.violation) == ("energy_uj <= 8", 10.0, 0.25)  # (10 - 8) / 8


def test_a_repeat_is_compared_at_no_rung(tmp_path: Path) -> None:
    search = StudiedSearch(tmp_path, BUDGET + ASHA + "repeat: {top: 1, seeds: 1}\n")
    search.begin(0.0)
    search.report(0, 2, 0.9, 1.0)
    again = search.begin(2.0, **repeat_of(0, 5))
    search.report(again, 2, 0.1, 3.0)
    with held(tmp_path):
        found = explain(read_history(tmp_path), again)
    assert (found.rungs, found.name) == ((), "trial 0 again, seed 5")
    assert found.reason.told == "it trains on a, after epoch 2 of 9"
    assert reason_of(read_history(tmp_path), again).cause is Cause.INTERRUPTED  # nobody runs the search


def test_the_commands_train_the_trial_s_own_configuration(tmp_path: Path) -> None:
    search = StudiedSearch(tmp_path, BUDGET + NONE + "base: {training: {phases: [{epochs: 3, scale: 0.5}]}}\n")
    search.begin(0.0)
    search.begin(1.0, sampled={"loss.box": 7.25, "optimizer.name": "sgd"})
    command = explain(read_history(tmp_path), 1).commands[0].split()
    assert command[:6] == ["spiketune", "train", "--data", "datasets/tiny", "--out", "trial-1"]
    words = shlex.split(" ".join(command))
    given_ = [word for before, word in itertools.pairwise(words) if before == "--set"]
    expected = search.spec.configuration({"loss.box": 7.25, "optimizer.name": "sgd"})
    assert load_config(None, given_) == expected


def test_a_diagnosis_brings_its_remedy_and_a_trial_that_is_not_there_is_refused(tmp_path: Path) -> None:
    search = StudiedSearch(tmp_path, BUDGET + NONE)
    with pytest.raises(InputError, match="trial 0: the search has no such trial; its numbers are none yet"):
        explain(read_history(tmp_path), 0)
    search.begin(0.0)
    search.report(0, 1, 0.0, 1.0)
    search.study.tag(0, diagnosis="error dead-layer: stem: fires never (and 2 more)")
    search.take_up(0, 5.0, node="b")
    found = explain(read_history(tmp_path), 0)
    assert found.remedy is not None
    assert "lower optimizer.lr or model.neuron.threshold" in found.remedy
    assert (found.lost, found.epoch_s, found.checkpoint) == ((1,), 10.0, None)
    with pytest.raises(InputError, match="its numbers are 0 to 0"):
        explain(read_history(tmp_path), 1)


def test_a_curve_is_drawn_from_its_lowest_to_its_highest() -> None:
    assert sparkline([0.0, 1.0, 0.5, math.nan, 0.25]) == "▁█▅ ▃"  # 0, 7, 3.5 and 1.75 sevenths, rounded
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert curve_told({1: 0.1, 2: 0.4, 3: 0.4}, "map") == (
        "▁██ mAP 0.1 to 0.4 (epoch 1 to 3), lowest 0.1 in epoch 1, highest 0.4 in epoch 2"
    )
    assert curve_told({4: 0.25}, "loss") == "▁ loss 0.25 (epoch 4)"


def test_places_are_told_as_people_tell_them() -> None:
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102, 111)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th",
    ]  # fmt: skip


def lived(spec: SearchSpec, seed: int, worth: Callable[[random.Random], float]) -> tuple[SearchHistory, Sequence[int]]:
    """A search whose trials report in random order to a live scheduler; and who was stopped."""
    rng, scheduler, epochs = random.Random(seed), scheduler_of(spec), spec.file.budget.epochs
    default = spec.default.leaves()
    records = [TrialRecord.begun(number, Origin({}), default) for number in range(spec.file.budget.trials)]
    told: list[list[Told]] = [[] for _ in records]
    running, clock, stopped = list(range(len(records))), 0.0, []
    while running:
        number, clock = rng.choice(running), clock + 1.0
        epoch, value = len(told[number]) + 1, worth(rng)
        decision = scheduler.report(number, epoch, value)
        told[number].append(Told(epoch, {"map": value, "best": 1.0}, None, decision, clock, 0.0, clock))
        if decision is Decision.STOP or epoch == epochs:
            running.remove(number)
            stopped += [number] if decision is Decision.STOP else []
    trials = []
    for record, mine in zip(records, told, strict=True):
        state = TrialState.STOPPED if record.number in stopped else TrialState.COMPLETE
        after = record.told((one, (one.metrics["map"],)) for one in mine)
        trials.append(TrialHistory(dataclasses.replace(after, state=state), tuple(mine), (), 0.0, mine[-1].at_s))
    result = SearchResult("tiny", Path(), spec, [trial.record for trial in trials])
    return SearchHistory(result, tuple(trials), Identity("tiny", "datasets/tiny", "0")), stopped


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[SchedulerName, SearchSpec]:
    """A search of 12 trials by each scheduler under which nobody waits."""
    found = {}
    for name in (SchedulerName.ASHA, SchedulerName.HYPERBAND, SchedulerName.MEDIAN):
        text = f"scheduler: {{name: {name.value}, grace: 1}}\nbudget: {{trials: 12, epochs: 9}}\n"
        space = "name: tiny\nspace: {loss.box: {uniform: [2, 15]}}\n"
        found[name] = spec_of(tmp_path_factory.mktemp(name.value), space + text)
    return found


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    few=st.booleans(),
    name=st.sampled_from([SchedulerName.ASHA, SchedulerName.HYPERBAND, SchedulerName.MEDIAN]),
)
def test_what_a_live_scheduler_decided_is_found_again(
    specs: dict[SchedulerName, SearchSpec], seed: int, few: bool, name: SchedulerName
) -> None:
    # Few different values make for many ties.
    history, stopped = lived(specs[name], seed, lambda rng: rng.choice([0.0, 0.5, 1.0]) if few else rng.random())
    for trial in history.trials[1:]:
        number = trial.record.number
        if name is SchedulerName.MEDIAN:
            if number in stopped:
                found = against_median(history, number)
                assert found is not None
                assert found.best < found.median
            continue
        rungs = at_rungs(history, number)
        assert all(rung.as_decided for rung in rungs)
        last = [not rung.passes for rung in rungs]
        # It passed every rung but, if it was stopped, the last.
        assert last == [False] * (len(rungs) - 1) + [number in stopped] if rungs else number not in stopped
