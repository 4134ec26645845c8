"""`spiketune export`: what it writes and what it refuses."""

from pathlib import Path

import nir
import onnxruntime
import pytest
import typer
from typer.testing import CliRunner, Result

from data.errors import DatasetError, InputError
from model.checkpoint import save_checkpoint
from tests.model.lively import lively_checkpoint
from tuner.cli_export import export

app = typer.Typer()
app.command("export")(export)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "best.safetensors"
    save_checkpoint(lively_checkpoint("ilif", **{"model.backbone": "plain", "model.neck": "fpn"}), path)
    return path


def run(checkpoint: Path, out: Path, *options: str) -> Result:
    return CliRunner().invoke(app, [str(checkpoint), "--out", str(out), *options], catch_exceptions=True)


def refusal(result: Result) -> str:
    assert isinstance(result.exception, InputError), result.output
    assert result.output == ""
    return str(result.exception)


def test_an_onnx_step_for_another_sensor_is_written_and_named(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "step.onnx"
    result = run(checkpoint, out, "--format", "onnx", "--stateful", "--size", "100x40")
    assert result.output == f"{out}\n"
    frames, *membranes = onnxruntime.InferenceSession(out).get_inputs()
    assert frames.shape == [1, "batch", 2, 64, 128]
    assert all(membrane.name.startswith("membrane.") for membrane in membranes)
    assert [file.name for file in out.parent.iterdir()] == ["step.onnx"]


def test_a_nir_graph_is_written_for_the_sensor_of_the_training(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.nir"
    assert run(checkpoint, out, "--format", "nir").output == f"{out}\n"
    assert nir.read(out).nodes["frames"].input_type["input"].tolist() == [2, 64, 96]


@pytest.mark.parametrize("size", ["100", "100x", "x40", "0x40", "100X40", "-1x40", "100x40x2", "1.5x2"])
def test_a_size_that_is_none_is_refused(checkpoint: Path, tmp_path: Path, size: str) -> None:
    result = run(checkpoint, tmp_path / "out", "--format", "onnx", f"--size={size}")
    assert refusal(result) == f"--size {size}: must be WIDTHxHEIGHT in pixels, as in 1280x720"


def test_an_unknown_format_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    result = run(checkpoint, tmp_path / "out", "--format", "tflite")
    assert refusal(result) == "--format tflite: must be one of onnx, nir, torchscript"


def test_a_folder_is_no_file_to_write(checkpoint: Path, tmp_path: Path) -> None:
    assert "is a folder; give the file to write" in refusal(run(checkpoint, tmp_path, "--format", "onnx"))


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = run(tmp_path / "gone.safetensors", tmp_path / "out", "--format", "nir")
    assert isinstance(result.exception, DatasetError)
    assert "no such checkpoint" in refusal(result)
