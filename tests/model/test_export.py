"""Exported detectors run in runtimes that know nothing of this project, and find what the detector finds."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from data.errors import ConfigError, DatasetError, InputError
from data.events import SensorSize
from model.checkpoint import Checkpoint, save_checkpoint
from model.export.exported_detector import Exportable, exportable
from model.export.formats import ExportFormat, export_checkpoint
from model.export.onnx_format import write_onnx
from model.export.torchscript_format import write_torchscript
from tests.model.lively import LABELS, SIZE, decided_frames, detections, expected, lively_checkpoint

NEURONS = ("ilif", "lif", "plif", "if", "psn", "relu")
LEAVES: dict[str, dict[str, Any]] = {
    "ilif": {"model.neuron.threshold": 0.8, "model.neck": "efm", "model.objectness": True},
    "lif": {"model.backbone": "plain", "model.neck": "prn", "data.representation.name": "diff3d"},
    "plif": {"model.backbone": "plain", "model.neck": "fpn", "model.readout": "mean"},
    "psn": {"model.backbone": "plain", "model.neck": "fpn"},
    "relu": {"model.backbone": "plain", "model.neck": "fpn"},
    "if": {"model.backbone": "plain", "model.readout": "max", "data.representation.name": "time_surface"},
}


@dataclass(frozen=True, slots=True)
class Case:
    """A checkpoint, its file, one window, and the detector's own answer to it."""

    checkpoint: Checkpoint
    path: Path
    window: torch.Tensor
    answer: tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    made = {}
    for neuron in NEURONS:
        checkpoint = lively_checkpoint(neuron, **LEAVES.get(neuron, {}))
        path = tmp_path_factory.mktemp(neuron) / "best.safetensors"
        save_checkpoint(checkpoint, path)
        window = decided_frames(checkpoint)
        made[neuron] = Case(checkpoint, path, window, expected(checkpoint, window))
    return made


@pytest.fixture(params=NEURONS)
def case(request: pytest.FixtureRequest, cases: dict[str, Case]) -> Case:
    return cases[request.param]


def holds_a_membrane(case: Case) -> bool:
    return case.checkpoint.config.model.neuron.name not in ("psn", "relu")


def exported(case: Case, export_format: ExportFormat, stateful: bool = False) -> Path:
    out = case.path.with_name(f"{stateful}.{export_format}")
    if not out.exists():
        export_checkpoint(case.path, export_format, out, stateful)
    return out


def tolerance_of(case: Case) -> float:
    """Spikes are whole numbers, and start every layer anew; what a ReLU rounds otherwise grows by the layer."""
    return 1e-3 if case.checkpoint.config.model.neuron.name == "relu" else 1e-4


def assert_same(found: Sequence[torch.Tensor], case: Case, tolerance: float) -> None:
    """Every answer at every step and point; fp32 holds a pixel position of 100 to 1e-5."""
    for ours, theirs in zip(found, case.answer, strict=True):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=1e-6)
    readout = case.checkpoint.config.model.readout
    for a, b in zip(detections(found, readout), detections(case.answer, readout), strict=True):
        assert len(a.scores) > 10
        assert a.classes.tolist() == b.classes.tolist()
        np.testing.assert_allclose(a.corners, b.corners, atol=tolerance, rtol=1e-6)
        np.testing.assert_allclose(a.scores, b.scores, atol=tolerance)
        np.testing.assert_allclose(a.embeddings, b.embeddings, atol=tolerance)


def test_onnxruntime_finds_in_a_window_what_the_detector_finds(case: Case) -> None:
    session = onnxruntime.InferenceSession(exported(case, ExportFormat.ONNX))
    assert [node.name for node in session.get_outputs()] == ["corners", "scores", "embeddings"]
    found = [torch.from_numpy(part) for part in session.run(None, {"frames": case.window.numpy()})]
    # A spike is a spike however the sums before it are rounded; in the net that does not spike the rounding grows.
    assert_same(found, case, tolerance_of(case))
    (alone,) = session.run(["scores"], {"frames": case.window[:, :1].numpy()})
    torch.testing.assert_close(torch.from_numpy(alone), case.answer[1][:, :1], atol=1e-4, rtol=0)


def test_onnxruntime_finds_step_by_step_what_the_detector_finds_in_the_window(case: Case) -> None:
    if not holds_a_membrane(case):
        with pytest.raises(ConfigError, match=r"no membrane .* leave --stateful out"):
            exported(case, ExportFormat.ONNX, stateful=True)
        return
    session = onnxruntime.InferenceSession(exported(case, ExportFormat.ONNX, stateful=True))
    before = [node.name for node in session.get_inputs()][1:]
    after = [node.name for node in session.get_outputs()][3:]
    assert after == [f"next_{name}" for name in before]
    shapes = [node.shape[1:] for node in session.get_inputs()[1:]]
    membranes = [np.zeros((case.window.shape[1], *shape), np.float32) for shape in shapes]
    steps = []
    for frame in case.window:
        inputs = {"frames": frame[None].numpy(), **dict(zip(before, membranes, strict=True))}
        (*answer,) = session.run(None, inputs)
        steps.append(answer[:3])
        membranes = answer[3:]
    assert_same([torch.from_numpy(np.concatenate(part)) for part in zip(*steps, strict=True)], case, 1e-4)


def test_an_onnx_file_says_what_it_holds(case: Case) -> None:
    said = onnxruntime.InferenceSession(exported(case, ExportFormat.ONNX)).get_modelmeta().custom_metadata_map
    assert (said["mode"], said["label_set"], json.loads(said["classes"])) == ("window", "mine", list(LABELS.classes))
    assert json.loads(said["sensor_size"]) == {"width": 90, "height": 60}
    channels = case.checkpoint.config.data.representation.channels
    assert json.loads(said["frame_size"]) == {"channels": channels, "height": 64, "width": 96}
    assert json.loads(said["configuration"]) == case.checkpoint.config.model_dump(mode="json")
    assert set(json.loads(said["outputs"])) == {"corners", "scores", "embeddings"}


# Runs each script of a folder in a Python that can import neither this project nor SpikingJelly.
STRANGER = """
import json, pathlib, sys, warnings
sys.modules["model"] = sys.modules["data"] = sys.modules["spikingjelly"] = None
import torch
warnings.simplefilter("ignore", DeprecationWarning)
for file in pathlib.Path(sys.argv[1]).glob("*.torchscript"):
    extra = {"spiketune.json": ""}
    function = torch.jit.load(file, _extra_files=extra)
    said = json.loads(extra["spiketune.json"])
    window, *membranes = torch.load(file.with_suffix(".inputs"), weights_only=True)
    assert len(json.loads(said["inputs"])) == 1 + len(membranes)
    steps = []
    for frames in [window] if said["mode"] == "window" else window.split(1):
        step = function(frames, *membranes)
        assert len(step) == len(json.loads(said["outputs"]))
        steps.append(step[:3])
        membranes = step[3:]
    torch.save([torch.cat(part) for part in zip(*steps)], file.with_suffix(".answer"))
"""


def test_torchscript_runs_without_this_project_and_finds_the_same(cases: dict[str, Case], tmp_path: Path) -> None:
    runs = {f"{neuron}-window": (case, False) for neuron, case in cases.items()}
    runs |= {f"{neuron}-step": (cases[neuron], True) for neuron in ("ilif", "plif")}
    for name, (case, stateful) in runs.items():
        export_checkpoint(case.path, ExportFormat.TORCHSCRIPT, tmp_path / f"{name}.torchscript", stateful)
        rest = exportable(case.checkpoint, SIZE, stateful).example[1:]
        torch.save([case.window, *rest], tmp_path / f"{name}.inputs")
    subprocess.run([sys.executable, "-I", "-c", STRANGER, tmp_path], check=True, cwd="/")
    for name, (case, _) in runs.items():
        assert_same(torch.load(tmp_path / f"{name}.answer", weights_only=True), case, tolerance_of(case))


def test_another_sensor_gets_frames_of_its_own_size(cases: dict[str, Case]) -> None:
    (frames,) = exportable(cases["ilif"].checkpoint, SensorSize(128, 33), stateful=False).example
    assert frames.shape == (3, 2, 2, 64, 128)


@pytest.mark.parametrize(
    ("write", "library"),
    [(write_onnx, "onnx.save_model"), (write_torchscript, "torch.jit.save")],
)
def test_a_write_that_fails_halfway_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, write: Callable[..., None], library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").write_bytes(b"old")

    def full_disk(_model: object, path: str, **_: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(library, full_disk)
    with pytest.raises(OSError, match="No space left"):
        write(Exportable(nn.ReLU().eval(), (torch.ones(2, 2),), ("frames",), ("corners",)), {}, tmp_path / "out")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("out", b"old")]


@pytest.mark.parametrize(("export_format", "package"), [(ExportFormat.ONNX, "onnx"), (ExportFormat.NIR, "nir")])
def test_a_missing_package_is_one_sentence(
    cases: dict[str, Case], tmp_path: Path, export_format: ExportFormat, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.export.onnx_format.find_spec", lambda name: None if name == package else object())
    with pytest.raises(
        InputError, match=rf"^{package} is not installed; export needs: pip install 'spiketune\[export\]'$"
    ):
        export_checkpoint(cases["ilif"].path, export_format, tmp_path / "out")


@pytest.mark.parametrize("export_format", list(ExportFormat))
def test_a_pickle_under_the_name_of_a_checkpoint_is_refused_unopened(
    tmp_path: Path, export_format: ExportFormat
) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    trap = tmp_path / "trap.safetensors"
    trap.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DatasetError, match=r"trap\.safetensors: not a readable checkpoint"):
        export_checkpoint(trap, export_format, tmp_path / "out")
    assert not (tmp_path / "sprung").exists()
    pickle.loads(trap.read_bytes())
    assert (tmp_path / "sprung").exists(), "the trap would have sprung"
