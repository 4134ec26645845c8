"""The winner measured once more: what is told, what is kept, and when it is measured again."""

import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from data.dataset import Dataset
from data.manifest import Split
from model.evaluation.protocol import evaluate_checkpoint
from model.prediction import Validation
from tests.tuner.promoted_search import make_search, seeded
from tuner.examination import examination as module
from tuner.examination import measuring
from tuner.examination.clip import LARGEST_BYTES
from tuner.examination.examination import Examination, examine
from tuner.history import read_history
from tuner.report.winner import winner_sections
from tuner.result import BEST_CHECKPOINT


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Dataset) -> Path:
    """A finished search whose winner is not examined."""
    folder = make_search(tmp_path_factory.mktemp("searches") / "tiny", tiny_dataset)
    history = read_history(folder)
    config = history.result.spec.configuration({"loss.box": 5.0})
    seeded(config, tiny_dataset, folder / BEST_CHECKPOINT, 7, 0.5)
    return folder


@pytest.fixture(scope="module")
def search(made: Path) -> Path:
    """The same, examined."""
    folder = made.with_name("examined")
    shutil.copytree(made, folder)
    assert examine(read_history(folder)).reason is None
    return folder


@pytest.fixture
def kept(search: Path) -> Examination:
    return examine(read_history(search), only_kept=True)


def no_measuring(*_: object) -> dict[str, object]:
    raise AssertionError("measured again")


def test_the_figures_are_those_of_an_evaluation_on_the_search_s_split(
    kept: Examination, search: Path, tiny_dataset: Dataset
) -> None:
    own = evaluate_checkpoint(search / BEST_CHECKPOINT, tiny_dataset, Validation(Split.VAL), "cpu")
    told = kept.figures["evaluation"]
    assert told["map"] == pytest.approx(own.overall.ap)
    assert told["windows"] == own.windows
    assert set(told) >= {"per_class", "day", "night", "precision_recall", "reliability"}
    assert kept.figures["intervals"]["unit"] == "windows"  # there are two recordings
    for interval in (kept.map_interval, kept.default_map_interval, kept.difference_interval):
        assert interval is not None
        assert interval[0] <= interval[1]


def test_an_examination_that_is_kept_is_read_without_a_dataset_and_without_measuring(
    search: Path, kept: Examination, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "measure", no_measuring)
    monkeypatch.setattr(module, "Dataset", None)
    again = examine(read_history(search))
    assert again.figures == kept.figures
    assert again.folder == kept.folder


def test_a_changed_checkpoint_is_measured_again_and_the_old_examination_goes(
    search: Path, tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "search"
    shutil.copytree(search, folder)
    (old,) = (folder / "examination").iterdir()
    config = read_history(folder).result.spec.configuration({"loss.box": 5.0})
    seeded(config, tiny_dataset, folder / BEST_CHECKPOINT, 8, 0.6)
    history = read_history(folder)
    assert examine(history, only_kept=True).reason == "the winner has not been examined yet"
    monkeypatch.setattr(measuring, "measure", lambda *_: {"intervals": {"map": [0.1, 0.2]}})
    found = examine(history)
    assert found.map_interval == (0.1, 0.2)
    assert [path.name for path in (folder / "examination").iterdir()] != [old.name]
    assert len(list((folder / "examination").iterdir())) == 1


def test_an_examination_that_is_killed_leaves_nothing_half_written(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "search"
    shutil.copytree(made, folder)

    def killed(_winner: Path, _default: Path, _dataset: Dataset, _validation: Validation, out: Path) -> None:
        (out / "best-1.webp").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "measure", killed)
    with pytest.raises(KeyboardInterrupt):
        examine(read_history(folder))
    assert list((folder / "examination").iterdir()) == []
    assert examine(read_history(folder), only_kept=True).reason is not None


def test_where_checkpoint_or_dataset_are_not_there_the_reason_is_told(
    made: Path, dataset: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "search"
    shutil.copytree(made, folder)
    foreign = examine(read_history(folder), Dataset.open(dataset))
    assert foreign.map_interval is None
    assert "is not the one the search ran on" in str(foreign.reason)
    identity = json.loads((folder / "search.json").read_text())
    (folder / "search.json").write_text(json.dumps(identity | {"dataset": str(tmp_path / "gone")}))
    assert "gone" in str(examine(read_history(folder)).reason)
    (folder / BEST_CHECKPOINT).unlink()
    assert "best.safetensors" in str(examine(read_history(folder)).reason)


def test_pictures_are_small_and_the_clip_moves(kept: Examination) -> None:
    assert kept.folder is not None
    pictures = kept.figures["gallery"]["pictures"]
    assert {picture["kind"] for picture in pictures} == {"best", "worst", "random"}
    for picture in pictures:
        path = kept.folder / picture["file"]
        assert path.stat().st_size < 100_000
        with PIL.Image.open(path) as image:
            colours = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
        assert ((colours[:, 1] - colours[:, 0] > 60) & (colours[:, 1] - colours[:, 2] > 60)).sum() > 50  # true boxes
    clip = kept.folder / kept.figures["clip"]["file"]
    assert clip.stat().st_size <= LARGEST_BYTES
    with PIL.Image.open(clip) as moving:
        assert moving.n_frames > 5  # type: ignore[attr-defined]


def test_the_sections_carry_every_picture_and_escape_what_comes_from_data(kept: Examination) -> None:
    evaluation = kept.figures["evaluation"]
    name = "<script>alert(1)</script>"
    renamed = {name: next(iter(evaluation["per_class"].values()))}
    figures = {**kept.figures, "evaluation": {**evaluation, "per_class": renamed}}
    sections = winner_sections(Examination(kept.folder, figures))
    html = "".join(section.html for section in sections)
    assert len({section.anchor for section in sections}) == len(sections)
    assert html.count("data:image/webp;base64,") == len(kept.figures["gallery"]["pictures"]) + 1
    assert name not in html
    assert "&lt;script&gt;alert(1)" in html


def test_without_an_examination_one_section_says_why() -> None:
    (section,) = winner_sections(Examination(reason="the dataset <b>is gone</b>"))
    assert "the dataset &lt;b&gt;is gone&lt;/b&gt;" in section.html
