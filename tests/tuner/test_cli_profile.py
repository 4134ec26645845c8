"""`spiketune profile`: what it prints, what it writes, and what it refuses."""

import json
from pathlib import Path

import cv2
import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from data.dataset import Dataset
from data.errors import ConfigError, DatasetError, InputError
from data.representation import RepresentationConfig
from model.checkpoint import Checkpoint, save_checkpoint
from model.profiling.untrained import synthetic_frames, untrained_detector
from model.trial_config import TrialConfig
from tuner.cli_profile import profile

app = typer.Typer()
app.command()(profile)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=True)


def told(*arguments: str) -> dict[str, object]:
    result = run(*arguments, "--json")
    assert result.exception is None, result.exception
    values: dict[str, object] = json.loads(result.stdout)
    return values


def refusal(kind: type[InputError], *arguments: str) -> str:
    """What a command that is refused says: one line, and nothing printed."""
    result = run(*arguments)
    assert isinstance(result.exception, kind), result.output
    assert result.output == ""
    assert "\n" not in str(result.exception)
    return str(result.exception)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("config") / "efm.yaml"
    path.write_text("model: {neck: efm}\ndata.time_steps: 2\n")
    return str(path)


@pytest.fixture(scope="module")
def checkpoint(tiny_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> str:
    frames = synthetic_frames(RepresentationConfig(), 4, 1, 64, 96, seed=0)
    labels = tiny_dataset.label_set
    detector = untrained_detector(TrialConfig(), len(labels.classes), frames)
    path = tmp_path_factory.mktemp("checkpoint") / "best.safetensors"
    save_checkpoint(Checkpoint(detector, TrialConfig(), labels, tiny_dataset.size, 7, {}), path)
    return str(path)


def test_a_configuration_is_profiled_on_synthetic_frames_of_the_padded_size(config: str) -> None:
    values = told(config, "--size", "100x60", "--runs", "1", "--windows", "1")
    assert (values["width"], values["height"], values["time_steps"]) == (128, 64, 2)
    assert values["sensor"] == {"width": 100, "height": 60}
    assert str(values["frames"]).startswith("synthetic")
    assert str(values["weights"]).startswith("untrained")
    assert {
        "activation_bytes",
        "balance",
        "cio_per_step",
        "energy_pj",
        "energy_ratio",
        "firing_rates",
        "flops",
        "latency",
        "layers",
        "macs",
        "neuron_flops",
        "parameters",
        "peak_layer",
        "peak_stage",
        "stages",
        "synops",
        "twin_energy_pj",
    } <= set(values)
    stages = values["stages"]
    assert isinstance(stages, list)
    assert "neck.coarse_out" in {stage["name"] for stage in stages}


def test_settings_are_laid_over_the_file(config: str) -> None:
    values = told(config, "--set", "model.neuron.name=relu", "--size", "64x32", "--runs", "0", "--windows", "1")
    assert (values["energy_ratio"], values["synops"], values["latency"]) == (1, 0, None)


def test_a_checkpoint_is_profiled_at_its_own_size_on_real_windows(tiny_dataset: Dataset, checkpoint: str) -> None:
    values = told(checkpoint, "--data", tiny_dataset.location, "--windows", "3", "--runs", "0")
    assert (values["width"], values["height"], values["windows"]) == (96, 64, 3)
    assert values["frames"] == f"3 validation windows of {tiny_dataset.location}"
    assert values["weights"] == "trained, epoch 7"


def test_people_get_a_table_and_a_picture(checkpoint: str, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    picture = tmp_path / "stages.png"
    result = run(checkpoint, "--runs", "2", "--windows", "1", "--threads", "1", "--out", str(picture))
    torch.set_num_threads(threads)
    assert result.exception is None, result.exception
    for text in ("nano csp + pan, ilif, T=4, 96x64", "backbone.stages.2", "ReLU twin's energy", "(2 runs on cpu, 1 th"):
        assert text in result.stdout
    assert result.stdout.endswith(f"{picture}\n")
    assert cv2.imread(str(picture)) is not None


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        (InputError, ["--size", "640"], "--size=640 must be WIDTHxHEIGHT"),
        (InputError, ["--size", "0x64"], "between 1 and 8192"),
        (InputError, ["--out", "stages.jpg"], "must end in .png"),
        (InputError, ["--windows", "0"], "--windows=0 must be at least 1"),
        (InputError, ["--classes", "0"], "--classes=0 must be at least 1"),
        (InputError, ["--runs", "-1"], "--runs=-1 must lie"),
        (InputError, ["--threads", "0"], "--threads=0 must be at least 1"),
        (ConfigError, ["--device", "abacus"], "device 'abacus' cannot be used"),
        (ConfigError, ["--set", "model.nek=pan"], "did you mean 'model.neck'"),
        (DatasetError, ["--data", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    config: str, kind: type[InputError], options: list[str], says: str
) -> None:
    assert says in refusal(kind, config, *options)


def test_a_size_beside_a_dataset_is_refused(config: str, tiny_dataset: Dataset) -> None:
    assert "leave --size out" in refusal(InputError, config, "--data", tiny_dataset.location, "--size", "64x64")
    assert "leave --classes out" in refusal(InputError, config, "--data", tiny_dataset.location, "--classes", "3")


def test_settings_of_a_checkpoint_stand(checkpoint: str) -> None:
    assert "is a checkpoint" in refusal(InputError, checkpoint, "--set", "model.neck=efm")
    assert "is a checkpoint" in refusal(InputError, checkpoint, "--classes", "3")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "best.safetensors" in refusal(DatasetError, str(tmp_path / "best.safetensors"))
    assert "none.yaml" in refusal(InputError, str(tmp_path / "none.yaml"))
