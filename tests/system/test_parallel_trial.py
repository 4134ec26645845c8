"""A search whose trials are trained by two processes each, over gloo."""

from pathlib import Path

import pytest

from data.dataset import Dataset
from model.checkpoint import load_checkpoint
from tuner.search import run_search
from tuner.spec.search_spec import load_spec
from tuner.study.record import TrialState

pytestmark = pytest.mark.system

SPEC = """\
name: parallel
base:
  data: {time_steps: 2}
  training: {batch_size: 4, windows_per_epoch: 8, compile: "off", precision: fp32}
space:
  loss.box: {uniform: [2, 15]}
sampler: {name: random}
scheduler: {name: none}
budget: {trials: 2, epochs: 2}
resources: {cpus: 1, processes: 2, max_concurrent: 1}
"""


def test_trials_of_two_processes_report_once_and_leave_one_checkpoint_each(
    tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC, encoding="utf-8")
    result = run_search(load_spec(spec), tiny_dataset.location, tmp_path / "out", report=False)
    assert [trial.state for trial in result.trials] == [TrialState.COMPLETE] * 2
    assert [trial.epochs for trial in result.trials] == [2, 2]
    best = result.best
    assert best is not None
    assert load_checkpoint(tmp_path / "out" / "best.safetensors").config.training.batch_size == 4
    assert load_checkpoint(result.folder / str(best.checkpoint)).epoch == best.best_epoch
