from pathlib import Path

import pytest

from data.dataset import Dataset
from data.manifest import Split
from model.prediction import Validation
from model.training.report import Watcher
from model.training.run import train
from model.trial_config import TrialConfig
from model.watching.checklist import checklist
from model.watching.history import HISTORY, History, read_history
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
