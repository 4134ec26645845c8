"""A population in the engine: losers stop, heirs go on from where better ones stand, also after deaths."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from data.errors import ConfigError
from tests.tuner.test_engine import EPOCHS, SPEC, Bench
from tuner.ledger import Ledger
from tuner.plan import expected_epochs
from tuner.schedulers.decision import Decision
from tuner.space import Leaves
from tuner.spec.search_spec import load_spec
from tuner.study.record import DEFAULT_TRIAL, UNFINISHED, TrialRecord, TrialState

SIZE, INTERVAL = 8, 2
POPULATION = (
    SPEC.replace("{name: promotion, grace: 1, reduction_factor: 3}", f"{{name: pbt, grace: {INTERVAL}}}")
    .replace("trials: 12", f"trials: {SIZE}")
    .replace("base: {loss.box: 1}", "base: {loss.box: 8}")
)  # not the worst: it never ends


class Crowd(Bench):
    """With as many workers as are asked for; notes how many members there are, and how far apart, before each epoch."""

    def __init__(self, folder: Path, text: str = POPULATION, workers: int = 2) -> None:
        self.workers = workers
        self.members: list[int] = []
        self.leads: list[int] = []
        super().__init__(folder, text)

    def fill(self) -> None:
        while len(self.running) < self.workers and (record := self.engine.next()) is not None:
            self.running.append(record.number)
        self.members.append(sum(record.state is not TrialState.STOPPED for record in self.study.trials()))

    def step(self, number: int) -> Decision:
        others = [r.last_epoch for r in self.study.trials() if r.state in UNFINISHED and r.number != DEFAULT_TRIAL]
        if number != DEFAULT_TRIAL:
            self.leads.append(self.study.trial(number).last_epoch - min(others))
        return super().step(number)


def heirs(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [record for record in records if record.origin.donor is not None]


@pytest.mark.parametrize("deaths", [0.0, 0.3])
@pytest.mark.parametrize(("workers", "seed"), [(2, 0), (2, 1), (3, 2), (SIZE, 3), (SIZE, 4)])
def test_each_that_loses_its_place_has_one_heir_and_the_population_stays_as_large(
    tmp_path: Path, workers: int, seed: int, deaths: float
) -> None:
    crowd = Crowd(tmp_path, workers=workers)
    records = crowd.finish(deaths, seed)
    lost = [record for record in records if record.state is TrialState.STOPPED]
    assert lost
    assert sorted(heir.origin.replaces or 0 for heir in heirs(records)) == [record.number for record in lost]
    assert {record.last_epoch for record in lost} <= {2, 4, 6, 8}
    assert sum(record.state is TrialState.COMPLETE for record in records) == SIZE
    assert set(crowd.members[crowd.members.index(SIZE) :]) == {SIZE}
    assert max(crowd.members) == SIZE
    assert len(crowd.epochs) == len(set(crowd.epochs))  # nothing is trained twice


@pytest.mark.parametrize("deaths", [0.0, 0.3])
def test_an_heir_goes_on_from_its_donors_files_and_epoch_with_its_kind_of_optimizer(
    tmp_path: Path, deaths: float
) -> None:
    records = Crowd(tmp_path, workers=4).finish(deaths, seed=5)
    assert heirs(records)
    for heir in heirs(records):
        donor, loser = records[heir.origin.donor or 0], records[heir.origin.replaces or 0]
        assert heir.origin.files == f"trials/{donor.number}"
        assert heir.origin.epoch in donor.curve
        assert list(heir.curve) == list(range(heir.origin.epoch + 1, heir.last_epoch + 1))
        assert heir.config["optimizer.name"] == donor.config["optimizer.name"]
        assert donor.config["loss.box"] != loser.config["loss.box"]
        assert set(heir.sampled) == {"loss.box", "optimizer.name"}  # all that the space has, from the default too
    assert {heir.origin.donor for heir in heirs(records)} - {heir.number for heir in heirs(records)}


def test_an_heir_is_handed_out_with_the_files_that_it_begins_with_and_after_a_death_again(tmp_path: Path) -> None:
    copies: list[tuple[int, int, float]] = []
    crowd = Crowd(tmp_path, workers=SIZE)

    def copied(donor: TrialRecord, number: int, leaves: dict[str, float]) -> str:
        copies.append((donor.number, number, leaves["loss.box"]))
        return f"trials-heirs/{number:04d}/files"

    crowd.engine._inherit = copied
    crowd.fill()
    for number in range(1, SIZE):
        crowd.step(number)
    while not any(record.state is TrialState.STOPPED for record in crowd.study.trials()):
        crowd.step(min(crowd.running, key=lambda n: crowd.study.trial(n).last_epoch))
    heir = crowd.engine.next()
    assert heir is not None
    assert copies == [(heir.origin.donor, SIZE, heir.sampled["loss.box"])]
    assert (heir.number, heir.files, heir.legs) == (SIZE, "trials-heirs/0008/files", 1)
    assert (heir.last_epoch, heir.leg_from, heir.epochs) == (heir.origin.epoch, heir.origin.epoch, 0)
    before = crowd.study.trial(SIZE).origin
    crowd.die()
    again = next(record for _ in range(SIZE) if (record := crowd.engine.next()) is not None and record.number == SIZE)
    assert (again.files, again.legs, again.last_epoch) == ("trials-heirs/0008/files", 2, before.epoch)
    assert again.origin == before
    crowd.running = [SIZE]
    crowd.step(SIZE)
    assert crowd.study.trial(SIZE).files == f"trials/{SIZE}"
    assert list(crowd.study.trial(SIZE).curve) == [before.epoch + 1]


def test_an_heir_of_files_that_are_gone_begins_anew(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path, workers=SIZE)
    crowd.engine._inherit = lambda *_: None
    first = heirs(crowd.finish(seed=3))[0]
    assert (first.origin.files, first.origin.epoch, min(first.curve)) == (None, 0, 1)


@pytest.mark.parametrize("workers", [2, 3])
def test_where_not_all_can_run_at_once_nobody_runs_away(tmp_path: Path, workers: int) -> None:
    crowd = Crowd(tmp_path, workers=workers)
    records = crowd.finish(seed=7)
    # A trial passes a comparison once none waits behind it; who runs there may be up to an interval behind.
    assert max(crowd.leads) < 2 * INTERVAL
    assert (records[DEFAULT_TRIAL].state, records[DEFAULT_TRIAL].epochs) == (TrialState.COMPLETE, EPOCHS)


def test_all_draws_follow_from_the_seed_and_the_numbers(tmp_path: Path) -> None:
    found: list[list[tuple[int | None, Leaves]]] = []
    for name, text in (("a", POPULATION), ("b", POPULATION), ("c", POPULATION.replace("seed: 3", "seed: 4"))):
        (tmp_path / name).mkdir()
        random.seed(name)
        np.random.seed(len(found))  # noqa: NPY002 - the global generator, which nothing may draw from
        records = Crowd(tmp_path / name, text, workers=4).finish(seed=1)
        found.append([(record.origin.donor, record.sampled) for record in records])
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_with_its_budget_of_epochs_spent_no_heir_begins(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path, POPULATION.replace("epochs: 9}", "epochs: 9, total_epochs: 40}"), workers=4)
    records = crowd.finish(seed=1)
    assert len(crowd.epochs) == 40
    assert not any(record.state in UNFINISHED for record in records)


def test_heirs_are_no_trials_of_the_budget(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path)
    records = crowd.finish(seed=1)
    ledger = Ledger(crowd.spec)
    ledger.restore(records)
    assert len(records) > SIZE
    assert ledger.spent.trials == SIZE
    # Each place of the population is trained through once, whoever holds it.
    assert expected_epochs(crowd.spec, [2, 4, 6, 8]) == SIZE * EPOCHS


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("trials: 8", "trials: 3", r"yaml:8: budget\.trials: trials=3 is the population .* worst of 4; raise it"),
        ("loss.box: {uniform: [2, 15]}", "data.time_steps: {integer: [2, 4]}", r"yaml:3: space: .* the space has none"),
        ("grace: 2", "brackets: 2", "brackets is not read by the scheduler 'pbt'"),
        ("grace: 2", "reduction_factor: 4", "reduction_factor is not read by the scheduler 'pbt'"),
        ("grace: 2", "grace: 10", r"grace=10 must not exceed budget\.epochs=9"),
        ("sampler:", "repeat: {top: 2}\nsampler:", "repeat trains a configuration from the start"),
    ],
)
def test_a_spec_that_cannot_be_a_population_is_refused_with_the_reason(
    tmp_path: Path, old: str, new: str, rule: str
) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(POPULATION.replace(old, new))
    with pytest.raises(ConfigError, match=rule):
        load_spec(path)
