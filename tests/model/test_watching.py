import errno
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from data.dataset import Dataset
from data.manifest import Split
from model.checkpoint import load_checkpoint
from model.prediction import EvaluationWindows, Validation
from model.training.report import EpochReport, StepReport, StepSeconds, Watcher
from model.training.run import train
from model.trial_config import TrialConfig
from model.watching.checklist import checklist
from model.watching.history import HISTORY, History, read_history
from model.watching.lenience import Lenience
from model.watching.tensorboard import FOLDER, TensorBoard
from model.watching.trace import TRACE, Trace

SMALL = {
    "data.time_steps": 2,
    "training.epochs": 2,
    "training.batch_size": 2,
    "training.windows_per_epoch": 14,
    "training.compile": "off",
}


@pytest.fixture(scope="module")
def run(tiny_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trace]:
    folder = tmp_path_factory.mktemp("run")
    config = TrialConfig().with_leaves(SMALL, "test")
    board, trace = TensorBoard(folder, tiny_dataset, Split.VAL, config.data), Trace(folder)
    watchers: list[Watcher] = [History(folder), board, trace]
    for _ in train(config, tiny_dataset, folder, Validation(windows=4), "cpu", watchers=watchers):
        pass
    board.close()
    return folder, trace


def test_the_history_has_a_row_for_each_epoch(run: tuple[Path, Trace]) -> None:
    rows = read_history(run[0] / HISTORY)
    assert [float(row["epoch"]) for row in rows] == [1, 2]
    assert {"map", "map50", "loss", "loss_box", "lr", "waiting", "skipped_steps", "batch_size"} <= rows[0].keys()
    assert [float(row["steps"]) for row in rows] == [7, 7]


def test_epochs_that_are_done_again_replace_their_rows(
    run: tuple[Path, Trace], tiny_dataset: Dataset, tmp_path: Path
) -> None:
    (tmp_path / HISTORY).write_bytes((run[0] / HISTORY).read_bytes())
    config = TrialConfig().with_leaves({**SMALL, "training.epochs": 1}, "test")
    for _ in train(
        config, tiny_dataset, tmp_path / "again", Validation(windows=4), "cpu", watchers=[History(tmp_path)]
    ):
        pass
    assert [float(row["epoch"]) for row in read_history(tmp_path / HISTORY)] == [1]


def report(epoch: int, **numbers: Any) -> EpochReport:
    values = dict.fromkeys(EpochReport.__dataclass_fields__, 1)
    return EpochReport(**{**values, "loss": {"box": 1.0}, "diagnosis": None, "epoch": epoch, **numbers})


def test_an_epoch_whose_row_a_kill_prevented_gets_it_from_its_checkpoint(
    run: tuple[Path, Trace], tmp_path: Path
) -> None:
    for name in ("best.safetensors", "last.safetensors", HISTORY):
        shutil.copy(run[0] / name, tmp_path)
    whole = (tmp_path / HISTORY).read_text()
    (tmp_path / HISTORY).write_text("".join(whole.splitlines(keepends=True)[:2]))  # the head and epoch 1
    History(tmp_path)
    assert load_checkpoint(tmp_path / "last.safetensors").epoch == 2
    assert (tmp_path / HISTORY).read_text() == whole


def test_a_history_that_found_no_room_is_whole_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    history, detector = History(tmp_path), None
    history.measured(report(1), detector, [])  # type: ignore[arg-type]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        history.measured(report(2), detector, [])  # type: ignore[arg-type]
        history.measured(report(3), detector, [])  # type: ignore[arg-type]
    assert len(read_history(tmp_path / HISTORY)) == 1
    history.measured(report(4), detector, [])  # type: ignore[arg-type]
    assert [float(row["epoch"]) for row in read_history(tmp_path / HISTORY)] == [1, 2, 3, 4]
    (said,) = caplog.messages
    assert said == f"{tmp_path / HISTORY}: cannot be written (No space left on device); training goes on without"
    assert [path.name for path in tmp_path.iterdir()] == [HISTORY]


def test_an_error_that_is_not_for_want_of_room_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), Lenience(tmp_path).writing():
        raise PermissionError(errno.EACCES, "Permission denied")


def step(number: int, **changes: Any) -> StepReport:
    values = {"loss": {"box": 1.0}, "lr": 0.1, "windows": 4, "boxes": 9, "labelled": 0.5, "steps": 1000}
    return StepReport(epoch=1, step=number, seconds=StepSeconds(0.1, 0.1, 0.1, 0.1), **{**values, **changes})


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """Have the system refuse to make files longer, as it does where a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_tensorboard_goes_on_with_another_file_after_a_full_disk(
    run: tuple[Path, Trace], tiny_dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard")
    config = TrialConfig().with_leaves(SMALL, "test").data
    detector = load_checkpoint(run[0] / "last.safetensors").detector
    windows = EvaluationWindows(tiny_dataset.shards(Split.VAL), config, Validation(windows=4))
    results = windows.predict(detector, torch.device("cpu"))
    board = TensorBoard(tmp_path, tiny_dataset, Split.VAL, config)
    with files_at_most(4096):
        board.measured(report(1), detector, results)
        for number in range(1, 500):  # a thread that writes would be waited for here, after ten points
            board.stepped(step(number))
        board.measured(report(2), detector, results)
    board.measured(report(3), detector, results)
    board.close()
    (said,) = caplog.messages
    assert said.endswith("tensorboard: cannot be written (File too large); training goes on without")
    last = max((tmp_path / FOLDER).iterdir(), key=lambda path: path.stat().st_size)
    events = reader.EventAccumulator(str(last))
    events.Reload()
    assert [event.step for event in events.Scalars("epoch/map")] == [3]
    assert "windows/3" in events.Tags()["images"]


def test_what_never_had_anything_to_say_leaves_no_file(tiny_dataset: Dataset, tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, tiny_dataset, Split.VAL, TrialConfig().data)
    History(tmp_path)
    Trace(tmp_path)
    board.stepped(step(1))
    board.close()
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_reads_curves_pictures_histograms_and_precision_recall(run: tuple[Path, Trace]) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard")
    events = reader.EventAccumulator(str(run[0] / FOLDER), size_guidance={reader.TENSORS: 0})
    events.Reload()
    tags = events.Tags()
    assert [event.step for event in events.Scalars("epoch/map")] == [1, 2]
    rows = read_history(run[0] / HISTORY)
    assert events.Scalars("epoch/loss")[1].value == pytest.approx(float(rows[1]["loss"]), rel=1e-6)
    assert {"windows/0", "windows/3"} <= set(tags["images"])
    assert sum(tag.startswith("firing/") for tag in tags["histograms"]) > 10
    assert any(tag.startswith("precision_recall/") for tag in tags["tensors"])


def test_the_trace_shows_the_parts_of_a_step_and_the_table_adds_up(run: tuple[Path, Trace]) -> None:
    text = (run[0] / TRACE).read_text(encoding="utf-8")
    assert all(f'"{part}"' in text for part in ("data", "forward", "backward", "optimizer"))
    table = run[1].table()
    assert [part for part, _, _ in table] == ["data", "forward", "backward", "optimizer", "evaluation"]
    assert sum(share for _, _, share in table) == pytest.approx(1)
    assert {part: seconds for part, seconds, _ in table}["forward"] > 0


def row(**numbers: float) -> dict[str, str]:
    values = {"loss": 2.0, "map": 0.1, "waiting": 0.01, "skipped_steps": 0.0, **numbers}
    return {name: str(value) for name, value in values.items()}


def test_a_good_run_passes_every_check(run: tuple[Path, Trace], tiny_dataset: Dataset) -> None:
    checks = checklist([row(), row(loss=1.0)], 100, run[0] / "best.safetensors", tiny_dataset, Split.VAL)
    named = {check.name: check.passed for check in checks}
    assert named.pop("no dead layer") in (True, False)  # two epochs of seven steps promise nothing
    assert named == dict.fromkeys(
        ["loss fell", "mAP above zero", "loader not the bottleneck", "steps finite", "checkpoint readable"], True
    )


def test_each_fault_fails_its_own_check(tiny_dataset: Dataset, tmp_path: Path) -> None:
    rows = [row(map=0.0), row(loss=3.0, map=0.0, waiting=0.4, skipped_steps=9.0)]
    checks = checklist(rows, 100, tmp_path / "none.safetensors", tiny_dataset, Split.VAL)
    assert [check.passed for check in checks] == [False] * 5
    assert "waited 40.0%; raise data.workers" in checks[2].line()


def test_a_layer_that_hardly_ever_fires_is_dead_as_in_a_diagnosis(
    run: tuple[Path, Trace], tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.watching.checklist.DEAD", 1e9)
    (last,) = [
        check
        for check in checklist([row()], 100, run[0] / "best.safetensors", tiny_dataset, Split.VAL)
        if check.name == "no dead layer"
    ]
    assert not last.passed
    assert last.seen.startswith("dead: ")


def test_the_loss_of_an_only_epoch_is_told_as_that(tiny_dataset: Dataset, tmp_path: Path) -> None:
    fell = checklist([row()], 100, tmp_path / "none.safetensors", tiny_dataset, Split.VAL)[0]
    assert fell.line() == "pass  loss fell: 2.000 in the only epoch"
