"""A dataset may come from a stranger: no name in its manifest or journal leads out of the folders that it is for."""

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from data.dataset import Dataset
from data.errors import DatasetError
from data.ingest.journal import FOLDER, Journal
from data.manifest import Manifest, RecordingName, SourcePath, shard_name
from data.split import Split
from data.storage import open_storage

NAMES: TypeAdapter[str] = TypeAdapter(RecordingName)
PATHS: TypeAdapter[str] = TypeAdapter(SourcePath)
STEPS = st.sampled_from(["..", ".", "", "a", "...", "..a", "/", "\\", "\0", "%2e%2e"])
HOSTILE = ["../victim", "../../etc/passwd", "/etc/passwd", "a/../../b", "..", ".", "", "a\0b", "a\\..\\b"]


def accepts(rule: TypeAdapter[str], text: str) -> bool:
    try:
        return rule.validate_python(text) == text
    except ValidationError:
        return False


@settings(deadline=None)
@given(st.lists(STEPS, max_size=6).map("/".join) | st.text(max_size=12))
def test_a_name_that_is_accepted_names_a_file_directly_in_its_folder(name: str) -> None:
    if accepts(NAMES, name):
        place = Path("/dataset", shard_name(Split.VAL, name))
        assert place.parent == Path("/dataset/val")
        assert Path(place.as_posix()).resolve().parent == Path("/dataset/val")


@settings(deadline=None)
@given(st.lists(STEPS, max_size=6).map("/".join) | st.text(max_size=12))
def test_a_path_that_is_accepted_stays_below_the_folder(path: str) -> None:
    if accepts(PATHS, path):
        assert Path("/source", path).resolve().is_relative_to("/source")


@pytest.mark.parametrize("name", ["0001_td", "val day 3", "..a", "a.b", "été", "%2e%2e"])
def test_ordinary_names_are_accepted(name: str) -> None:
    assert accepts(NAMES, name)
    assert accepts(PATHS, f"HDF5/val/{name}.h5")


def poisoned(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = folder / "manifest.json"
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


@pytest.fixture
def dataset(tmp_path: Path, tiny_dataset: Dataset) -> Path:
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "manifest.json").write_bytes(Path(tiny_dataset.location, "manifest.json").read_bytes())
    return folder


@pytest.mark.parametrize("name", HOSTILE)
def test_a_manifest_with_a_name_that_leads_away_is_refused(dataset: Path, name: str) -> None:
    poisoned(dataset, lambda values: values["recordings"][0].update(name=name))
    with pytest.raises(DatasetError, match=r"recordings\.0\.name: .* must be a name without"):
        Manifest.read(open_storage(dataset))


@pytest.mark.parametrize("path", ["../secret.h5", "/etc/passwd", "a/../../b"])
def test_a_manifest_with_a_source_that_leads_away_is_refused(dataset: Path, path: str) -> None:
    poisoned(dataset, lambda values: values["recordings"][1].update(source=path))
    with pytest.raises(DatasetError, match=r"recordings\.1\.source: .* must lead to a file below the ingested folder"):
        Manifest.read(open_storage(dataset))


@pytest.mark.parametrize(("name", "counts"), [("night", True), ("../../victim", False)])
def test_a_journal_s_note_counts_only_with_a_name_that_stays(dataset: Path, name: str, counts: bool) -> None:
    manifest = Manifest.read(open_storage(dataset))
    entry = json.loads(manifest.recordings[0].model_dump_json()) | {"name": name}
    note = {"made_of": "digest", "size": [96, 64], "entry": entry}
    storage = open_storage(dataset)
    storage.write(json.dumps(note).encode(), FOLDER / "train" / "night.json")
    (dataset / "train").mkdir()
    (dataset / "train" / "night.arrow").write_bytes(b"x" * entry["file_bytes"])

    class Finding:
        split, name = Split.TRAIN, "night"

    assert storage.size(PurePosixPath("train/night.arrow")) == entry["file_bytes"]
    found = Journal(storage).find(Finding(), "digest")  # type: ignore[arg-type]
    assert (found is not None) == counts
