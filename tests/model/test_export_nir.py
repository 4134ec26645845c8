"""A NIR file, read again and run by NIR's own equations, says what the detector says."""

import json
from pathlib import Path

import nir
import numpy as np
import numpy.typing as npt
import pytest
import torch

from data.errors import ConfigError
from model.checkpoint import Checkpoint, save_checkpoint
from model.export.formats import ExportFormat, export_checkpoint
from model.export.nir_format import write_nir
from model.head import BINS, EMBEDDING, STRIDES, Predictions, anchor_points
from tests.model.lively import expected, frames, lively_checkpoint
from tests.model.nir_interpreter import Interpreter, Values

PARTS = ("membrane", "spike1", "reset", "delay")
LEVELS = ((8, 12), (4, 6), (2, 3))  # rows and columns of strides 8, 16, 32


def exported(checkpoint: Checkpoint, folder: Path) -> nir.NIRGraph:
    save_checkpoint(checkpoint, folder / "best.safetensors")
    export_checkpoint(folder / "best.safetensors", ExportFormat.NIR, folder / "out.nir")
    return nir.read(folder / "out.nir")


def flat(said: Values, part: str) -> npt.NDArray[np.float32]:
    """Logits `[N, X]` of all points."""
    return np.concatenate([said[f"{part}.{stride}"].reshape(len(said[f"{part}.{stride}"]), -1).T for stride in STRIDES])


def run(graph: nir.NIRGraph, window: torch.Tensor, objectness: bool) -> Predictions:
    """One window through a graph: the logits of all levels, in the order of the detector's points."""
    interpreter = Interpreter(graph)
    steps = []
    for frame in window[:, 0].float().clamp(-10, 10).numpy():
        said = interpreter.step({"frames": frame})
        steps.append([flat(said, "box"), flat(said, "classes")])
    box, classes = (torch.from_numpy(np.stack([step[part] for step in steps]))[:, None] for part in (0, 1))
    sides, embeddings, rest = box.split([4 * BINS, EMBEDDING, int(objectness)], dim=-1)
    points, strides = anchor_points(list(LEVELS), torch.device("cpu"))
    return Predictions(
        sides=sides.unflatten(-1, (4, BINS)),
        classes=classes,
        objectness=rest[..., 0] if objectness else None,
        embeddings=embeddings,
        points=points,
        strides=strides,
    )


@pytest.mark.parametrize(
    ("neuron", "leaves"),
    [
        ("ilif", {}),
        ("ilif", {"model.neuron.threshold": 0.7, "model.neuron.max_spikes": 3, "model.neck": "efm"}),
        ("lif", {"model.neuron.decay": 0.6, "model.backbone": "dense", "model.neck": "prn", "model.objectness": True}),
        ("plif", {"model.backbone": "plain", "model.neck": "fpn"}),
        ("if", {"model.neuron.threshold": 1.3}),
    ],
)
def test_a_nir_file_read_again_answers_as_the_detector_does(
    neuron: str, leaves: dict[str, object], tmp_path: Path
) -> None:
    checkpoint = lively_checkpoint(neuron, **leaves)
    window = frames(checkpoint.config, 1, rows=1)
    corners, scores, embeddings = expected(checkpoint, window)
    found = run(exported(checkpoint, tmp_path), window, checkpoint.config.model.objectness)
    torch.testing.assert_close(found.corners(), corners, atol=1e-4, rtol=1e-6)
    torch.testing.assert_close(found.scores(), scores, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.embeddings, embeddings, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return lively_checkpoint("lif", **{"model.neuron.decay": 0.75, "model.neuron.threshold": 0.5})


@pytest.fixture(scope="module")
def graph(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> nir.NIRGraph:
    return exported(checkpoint, tmp_path_factory.mktemp("nir"))


def test_a_neuron_is_an_integrator_a_threshold_and_a_delayed_reset(graph: nir.NIRGraph) -> None:
    name, step_s = "backbone.stages.0.0.0", 0.05 / 3
    membrane, spike = graph.nodes[f"{name}.membrane"], graph.nodes[f"{name}.spike1"]
    reset, delay = graph.nodes[f"{name}.reset"], graph.nodes[f"{name}.delay"]
    assert [type(node) for node in (membrane, spike, reset, delay)] == [nir.LI, nir.Threshold, nir.Scale, nir.Delay]
    # Forward Euler: v + step/tau * (r x - v) is 0.75 v + x, so step/tau = 0.25 and r = 4. A spike takes off 0.5, of
    # which 0.75 would still be there one step later.
    np.testing.assert_allclose(membrane.tau, step_s / 0.25, rtol=1e-6)
    np.testing.assert_allclose(membrane.r, 4, rtol=1e-6)
    np.testing.assert_allclose(membrane.v_leak, 0)
    np.testing.assert_allclose(spike.threshold, 0.5, rtol=1e-6)
    np.testing.assert_allclose(reset.scale, -0.375, rtol=1e-6)
    np.testing.assert_allclose(delay.delay, step_s, rtol=1e-6)
    assert membrane.r.shape == (8, 16, 24)
    inside = {
        (before, after) for before, after in graph.edges if {before, after} <= {f"{name}.{part}" for part in PARTS}
    }
    assert inside == {
        (f"{name}.membrane", f"{name}.spike1"),
        (f"{name}.spike1", f"{name}.reset"),
        (f"{name}.reset", f"{name}.delay"),
        (f"{name}.delay", f"{name}.membrane"),
    }
    assert [before for before, after in graph.edges if after == f"{name}.membrane"].count("backbone.stem.0") == 1


def test_batch_norms_are_in_the_weights_of_the_convolutions(checkpoint: Checkpoint, graph: nir.NIRGraph) -> None:
    weights = {
        name: value.numpy().astype(float)
        for name, value in checkpoint.detector.backbone.stem.state_dict().items()
        if value.dim()
    }
    stem = graph.nodes["backbone.stem.0"]
    factor = weights["1.weight"] / np.sqrt(weights["1.running_var"] + 1e-5)  # PyTorch's epsilon
    for channel in range(8):
        np.testing.assert_allclose(stem.weight[channel], weights["0.weight"][channel] * factor[channel], rtol=1e-5)
    np.testing.assert_allclose(stem.bias, weights["1.bias"] - weights["1.running_mean"] * factor, rtol=1e-4, atol=1e-6)
    assert (tuple(stem.stride), tuple(stem.padding)) == ((4, 4), (3, 3))


def test_what_the_host_must_do_is_named_where_it_enters(graph: nir.NIRGraph) -> None:
    asked = {name: dict(node.metadata) for name, node in graph.nodes.items() if isinstance(node, nir.Input)}
    pool = {"operation": "max_pool", "kernel": "5", "stride": "1", "padding": "2"}
    double = {"operation": "upsample", "mode": "nearest", "scale": "2"}
    pools = {f"backbone.context.pool.result{number}": pool for number in range(3)}
    assert asked == {"frames": {}, **pools, "neck.upsample.result0": double, "neck.upsample.result1": double}


def test_the_file_says_what_it_holds(graph: nir.NIRGraph) -> None:
    assert graph.metadata["mode"] == "step"
    assert float(graph.metadata["step_s"]) == pytest.approx(0.05 / 3)
    assert json.loads(graph.metadata["configuration"])["model"]["neuron"]["name"] == "lif"
    outputs = {name for name, node in graph.nodes.items() if isinstance(node, nir.Output) and "to" not in node.metadata}
    assert outputs == {f"{part}.{stride}" for part in ("box", "classes") for stride in (8, 16, 32)}


@pytest.mark.parametrize(("neuron", "why"), [("psn", "mixes all steps"), ("relu", "does not spike")])
def test_neurons_that_nir_cannot_hold_are_refused(neuron: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"name={neuron}: it {why}.*NIR takes ilif, lif, plif and if"):
        exported(lively_checkpoint(neuron), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["best.safetensors"]


def test_a_graph_that_is_asked_to_be_stateful_is_so_anyway(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(checkpoint, tmp_path / "best.safetensors")
    with pytest.raises(ConfigError, match="--stateful: a NIR graph always goes on from step to step; leave it out"):
        export_checkpoint(tmp_path / "best.safetensors", ExportFormat.NIR, tmp_path / "out.nir", stateful=True)


def test_a_write_that_fails_halfway_leaves_the_old_file_and_nothing_else(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").write_bytes(b"old")

    def full_disk(path: Path, _graph: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nir.write", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_nir(checkpoint, checkpoint.size, {}, tmp_path / "out")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("out", b"old")]
