"""The files that an heir begins with: a whole copy of the donor's, made its own, there as long as it is needed."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from model.training.run_folder import RunFolder
from tests.tuner.test_engine_pbt import POPULATION
from tuner.heirs import CopiedFiles
from tuner.spec.search_spec import SearchSpec, load_spec
from tuner.study.record import Origin, TrialRecord, TrialState

STANDING = {"epoch": 4, "phase_first": 1, "best": 0.5, "gained": 3, "gain_from": 0.5}
SOURCE, COPY = "trials/0002/checkpoint_000003", "trials-heirs/0009/files"


@pytest.fixture
def spec(tmp_path: Path) -> SearchSpec:
    (tmp_path / "spec.yaml").write_text(POPULATION)
    return load_spec(tmp_path / "spec.yaml")


@pytest.fixture
def donor(tmp_path: Path, spec: SearchSpec) -> TrialRecord:
    """With the files of a training of its own."""
    leaves = {"loss.box": 9.0, "optimizer.name": "sgd"}
    (tmp_path / SOURCE).mkdir(parents=True)
    (tmp_path / SOURCE / "best.safetensors").write_bytes(b"weights")
    state = {
        "config": spec.configuration(leaves).model_dump(mode="json"),
        "standing": STANDING,
        "trainer": {"parts": 2},
    }
    folder(tmp_path / SOURCE, spec).save_state(state)
    return TrialRecord(2, Origin(leaves), spec.default.leaves(), files=SOURCE)


def folder(path: Path, spec: SearchSpec) -> RunFolder:
    return RunFolder(path, spec.default.training.checkpoint)


def state(path: Path, spec: SearchSpec) -> dict[str, Any]:
    found = folder(path, spec).load_state()
    assert found is not None
    return found


def test_a_copy_is_a_run_of_the_heirs_own_and_outlives_the_donors_files(
    tmp_path: Path, spec: SearchSpec, donor: TrialRecord
) -> None:
    theirs = state(tmp_path / SOURCE, spec)
    leaves = {"loss.box": 7.0, "optimizer.name": "sgd"}
    assert CopiedFiles(spec, tmp_path)(donor, 9, leaves) == COPY
    assert state(tmp_path / SOURCE, spec) == theirs
    shutil.rmtree(tmp_path / "trials")
    mine = state(tmp_path / COPY, spec)
    assert mine["config"] == spec.configuration(leaves).model_dump(mode="json")
    assert mine["standing"] == {**STANDING, "best": -1.0, "gain_from": -1.0}
    assert mine["trainer"] == {"parts": 2}
    assert (tmp_path / COPY / "best.safetensors").read_bytes() == b"weights"


def test_a_copy_that_a_dead_process_left_is_made_anew(tmp_path: Path, spec: SearchSpec, donor: TrialRecord) -> None:
    (tmp_path / COPY).mkdir(parents=True)
    (tmp_path / COPY / "rest").write_text("of another donor")
    (tmp_path / COPY).with_name("part").mkdir()
    assert CopiedFiles(spec, tmp_path)(donor, 9, donor.sampled) == COPY
    assert sorted(path.name for path in (tmp_path / COPY).iterdir()) == ["best.safetensors", "state.safetensors"]
    assert [path.name for path in (tmp_path / COPY).parent.iterdir()] == ["files"]


def test_without_files_or_with_settings_that_cannot_change_there_is_no_copy(
    tmp_path: Path, spec: SearchSpec, donor: TrialRecord
) -> None:
    copied = CopiedFiles(spec, tmp_path)
    assert copied(donor, 9, {"loss.box": 7.0, "optimizer.name": "adamw"}) is None
    assert copied(donor, 9, {"loss.box": -1.0, "optimizer.name": "sgd"}) is None  # refused by the configuration
    shutil.rmtree(tmp_path / "trials")
    assert copied(donor, 9, donor.sampled) is None
    assert copied(donor.without_files(), 9, donor.sampled) is None
    assert list((tmp_path / "trials-heirs").glob("*")) == []


def test_copies_go_once_their_heirs_have_files_of_their_own_or_have_ended(tmp_path: Path, spec: SearchSpec) -> None:
    def heir(number: int, files: str | None = None, state: TrialState = TrialState.PREEMPTED) -> TrialRecord:
        origin = Origin({}, donor=2, replaces=1, epoch=4, files=f"trials-heirs/{number:04d}/files")
        return TrialRecord(number, origin, {}, state, files=files or origin.files)

    for number in (5, 6, 7, 8):
        (tmp_path / f"trials-heirs/{number:04d}/files").mkdir(parents=True)
    records = [heir(5), heir(6, "trials/0006/checkpoint_000000"), heir(7, state=TrialState.FAILED)]  # 8 was never begun
    CopiedFiles(spec, tmp_path).clear([TrialRecord(0, Origin({}), {}), *records])
    assert [path.name for path in (tmp_path / "trials-heirs").iterdir()] == ["0005"]
