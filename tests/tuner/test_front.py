"""The front of two objectives, by paper and pencil, and its picture."""

from pathlib import Path

import pytest

from tests.tuner.search_records import SPEC, record, spec_of
from tuner.front import front_of, hypervolume_of
from tuner.front_figure import FRONT, write_front
from tuner.result import SearchResult
from tuner.study.record import TrialState

TWO = SPEC + "objective: {metric: map, also: [{metric: energy_uj, mode: min}]}\nconstraints: [energy_uj <= 9]\n"


def result(folder: Path) -> SearchResult:
    spec = spec_of(folder, TWO)
    records = [
        record(spec, 0, [(0.5, 5.0)]),
        record(spec, 1, [(0.7, 8.0)]),
        record(spec, 2, [(0.6, 9.0)]),  # beaten by 1
        record(spec, 3, [(0.2, 1.0)], TrialState.STOPPED),  # it was measured, too
        record(spec, 4, [(0.9, 12.0)], violation=1 / 3),
        record(spec, 5, [], TrialState.FAILED),
        record(spec, 6, [(0.1, 7.0)]),  # beaten by 0
    ]
    return SearchResult("tiny-1", folder, spec, records)


def test_the_front_is_what_nobody_beats_in_everything_and_keeps_the_constraints(tmp_path: Path) -> None:
    found = result(tmp_path)
    assert [trial.number for trial in front_of(found.spec, found.trials)] == [0, 1, 3]


def test_the_hypervolume_is_the_area_up_to_the_worst_of_each(tmp_path: Path) -> None:
    found = result(tmp_path)
    # Worst mAP .1, worst energy 9. Strips of energy: 1 to 5 at .2, 5 to 8 at .5, 8 to 9 at .7, each above .1.
    volume, reference = hypervolume_of(found.spec, found.trials)
    assert volume == pytest.approx(4 * 0.1 + 3 * 0.4 + 1 * 0.6)
    assert reference == (0.1, 9.0)
    printed = found.as_dict()["front"]
    assert printed["hypervolume"] == pytest.approx(volume)
    assert [(point["map"], point["energy_uj"]) for point in printed["trials"]] == [(0.5, 5.0), (0.7, 8.0), (0.2, 1.0)]


def test_with_one_objective_there_is_no_front(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    single = SearchResult("tiny-1", tmp_path, spec, [record(spec, 0, [0.5])])
    assert single.as_dict()["front"] is None
    assert write_front(single) is None


def test_a_trial_that_breaks_a_constraint_wins_only_where_all_do(tmp_path: Path) -> None:
    found = result(tmp_path)
    assert found.best is not None
    assert found.best.number == 1  # .7, while .9 breaks the bound
    broken = SearchResult("tiny-1", tmp_path, found.spec, [found.trials[4]])
    assert broken.best == found.trials[4]


def test_the_picture_is_written(tmp_path: Path) -> None:
    path = write_front(result(tmp_path))
    assert path == tmp_path / FRONT
    assert path.read_bytes().startswith(b"\x89PNG")
