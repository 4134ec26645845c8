"""A search's folder: begun once, resumed with what may change, held by one process."""

import subprocess
import sys
from pathlib import Path

import pytest

from data.dataset import Dataset
from data.errors import InputError
from tests.tuner.search_records import SPEC, spec_of
from tuner.search_folder import IDENTITY_FILE, SPEC_FILE, begun, held, new_search_id, read_identity
from tuner.spec.search_spec import load_spec


@pytest.fixture
def opened(dataset: Path) -> Dataset:
    return Dataset.open(dataset)


def test_a_new_search_is_resumed_as_the_same(tmp_path: Path, opened: Dataset) -> None:
    spec = spec_of(tmp_path)
    folder, identity = begun(spec, opened, tmp_path / "out", resume=True)  # nothing there yet: it begins
    assert begun(spec, opened, tmp_path / "out", resume=True) == (folder, identity)
    assert (identity.digest, read_identity(folder)) == (opened.digest, identity)
    with pytest.raises(InputError, match="is not empty"):
        begun(spec, opened, tmp_path / "out", resume=False)


def test_a_death_before_the_identity_was_written_is_begun_anew(tmp_path: Path, opened: Dataset) -> None:
    spec = spec_of(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / SPEC_FILE).write_text("half of a sp")
    folder, _ = begun(spec, opened, tmp_path / "out", resume=True)
    assert load_spec(folder / SPEC_FILE).file == spec.file
    assert (folder / IDENTITY_FILE).is_file()


def test_the_newest_search_of_the_name_is_resumed_where_no_folder_is_given(
    tmp_path: Path, opened: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = spec_of(tmp_path)
    first, _ = begun(spec, opened, None, resume=True)
    assert first.parent == Path("runs")
    assert begun(spec, opened, None, resume=True)[0] == first


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("trials: 9", "trials: 20", None),
        ("budget:", "resources: {cpus: 2}\nbudget:", None),
        ("[2, 15]", "[2, 14]", "space"),
        ("budget:", "sampler: {seed: 1}\nbudget:", "sampler"),
        ("budget:", "objective: {windows: 3}\nbudget:", "objective"),
    ],
)
def test_a_resumed_search_may_change_what_it_spends_and_nothing_else(
    tmp_path: Path, opened: Dataset, old: str, new: str, changed: str | None
) -> None:
    begun(spec_of(tmp_path), opened, tmp_path / "out", resume=False)
    spec = spec_of(tmp_path, SPEC.replace(old, new))
    if changed is None:
        begun(spec, opened, tmp_path / "out", resume=True)
        assert load_spec(tmp_path / "out" / SPEC_FILE).file == spec.file
        return
    with pytest.raises(InputError, match=f"out: {changed} of the spec changed since the search began"):
        begun(spec, opened, tmp_path / "out", resume=True)


def test_another_dataset_is_refused(tmp_path: Path, opened: Dataset) -> None:
    spec = spec_of(tmp_path)
    folder, _ = begun(spec, opened, tmp_path / "out", resume=False)
    file = folder / IDENTITY_FILE
    file.write_text(file.read_text().replace(opened.digest, "another"))
    with pytest.raises(InputError, match="is not the one the search began with"):
        begun(spec, opened, tmp_path / "out", resume=True)


def test_one_process_holds_a_search_and_lets_go_when_it_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tuner.search_folder import held\n"
        "with held(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(600)"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process is running this search"), held(tmp_path):
            pass
        other.kill()
        other.wait()
        with held(tmp_path):
            pass


def test_ids_of_a_shared_database_differ_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKETUNE_STUDY_URL", "postgresql://db/studies")
    assert len({new_search_id("tiny") for _ in range(50)}) > 45  # two of 65,536 rarely meet
