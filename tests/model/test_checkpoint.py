import errno
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from data.boxes import LabelSet
from data.errors import DatasetError
from data.events import SensorSize
from data.storage import partial_path
from model.checkpoint import CHECKPOINT, Checkpoint, load_checkpoint, save_checkpoint
from model.detector import SpikingDetector
from model.sealed_file import SEAL, write_sealed
from model.trial_config import TrialConfig
from tests.model.small_disk import files_up_to

CHANGES = {"model.neuron.max_spikes": 3, "loss.box": 0.1 + 0.2, "data.scale": 1 / 3, "training.windows_per_epoch": 7}
FRAMES = torch.randint(0, 5, (2, 1, 2, 32, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    torch.manual_seed(3)
    config = TrialConfig().with_leaves(CHANGES, "test")
    detector = SpikingDetector(config.model, config.data.representation, config.data.time_steps, classes=2)
    with torch.no_grad():
        detector.train()(FRAMES)  # so that the norms hold more than they start with
    labels = LabelSet("mine", ("cat", "dög"))
    return Checkpoint(detector, config, labels, SensorSize(1280, 720), 5, {"map": 0.1 + 0.2, "loss": 1e-9})


@pytest.fixture
def path(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    save_checkpoint(checkpoint, tmp_path / "best.safetensors")
    return tmp_path / "best.safetensors"


def test_a_checkpoint_read_back_predicts_the_same(path: Path, checkpoint: Checkpoint) -> None:
    again = load_checkpoint(path).detector
    assert not again.training
    with torch.no_grad():
        found, expected = again(FRAMES), checkpoint.detector.eval()(FRAMES)
    for name in ("sides", "classes", "embeddings"):
        assert torch.equal(getattr(found, name), getattr(expected, name))


def test_a_checkpoint_read_back_has_its_weights_norms_and_facts(path: Path, checkpoint: Checkpoint) -> None:
    again = load_checkpoint(path)
    ours, theirs = checkpoint.detector.state_dict(), again.detector.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert again.config == checkpoint.config
    assert again.config.loss.box == 0.1 + 0.2
    assert again.label_set == checkpoint.label_set
    assert again.size == SensorSize(1280, 720)
    assert (again.epoch, again.metrics) == (5, {"map": 0.1 + 0.2, "loss": 1e-9})


def test_a_checkpoint_is_one_file(path: Path) -> None:
    assert [file.name for file in path.parent.iterdir()] == ["best.safetensors"]


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.safetensors: no such checkpoint"):
        load_checkpoint(tmp_path / "gone.safetensors")


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("kept", [0.0, 0.0001, 0.5, 0.999999])
def test_a_truncated_checkpoint_is_named(path: Path, kept: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(DatasetError, match=r"best\.safetensors: not a readable checkpoint .* damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all, but long enough", b"\x80\x04\x95pickled"])
def test_another_kind_of_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(DatasetError, match=r"x\.safetensors: not a readable checkpoint"):
        load_checkpoint(tmp_path / "x.safetensors")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"format": "1"}])
def test_safetensors_of_another_program_or_version_are_named(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"weight": torch.ones(3)}, tmp_path / "foreign.safetensors", metadata)
    with pytest.raises(DatasetError, match=r"foreign\.safetensors: format .* is not '4'"):
        load_checkpoint(tmp_path / "foreign.safetensors")


def rewritten(path: Path, change: Callable[[dict[str, str], dict[str, torch.Tensor]], Any]) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = {name: text for name, text in file.metadata().items() if name not in ("format", SEAL)}
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    change(metadata, weights)
    write_sealed(weights, metadata, path, CHECKPOINT)


DAMAGES: dict[str, Callable[[dict[str, str], dict[str, torch.Tensor]], Any]] = {
    "no configuration": lambda metadata, _: metadata.pop("config"),
    "a configuration cut off": lambda metadata, _: metadata.update(config="{"),
    "an unknown key": lambda metadata, _: metadata.update(config='{"loss": {"bax": 1}}'),
    "another preset": lambda metadata, _: metadata.update(config='{"model": {"preset": "small"}}'),
    "a strange epoch": lambda metadata, _: metadata.update(epoch="five"),
    "a weight too few": lambda _, weights: weights.popitem(),
    "a weight too many": lambda _, weights: weights.update(more=torch.ones(1)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_that_does_not_fit_together_is_named(path: Path, damage: str) -> None:
    rewritten(path, DAMAGES[damage])
    with pytest.raises(DatasetError, match=r"best\.safetensors: does not fit this version"):
        load_checkpoint(path)


@pytest.mark.parametrize("limit", [0, 100, 50_000])
def test_a_write_that_fails_halfway_leaves_the_old_checkpoint_and_nothing_else(
    path: Path, checkpoint: Checkpoint, limit: int
) -> None:
    before = path.read_bytes()
    with pytest.raises(OSError, match="too large") as caught, files_up_to(limit):
        save_checkpoint(checkpoint, path)
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_what_a_killed_write_left_is_gone_after_the_next(path: Path, checkpoint: Checkpoint) -> None:
    partial_path(path).write_bytes(b"as far as it came, which was further than the whole file" * 1_000_000)
    save_checkpoint(checkpoint, path)
    assert list(path.parent.iterdir()) == [path]
    assert load_checkpoint(path).epoch == 5


def test_a_checkpoint_may_be_read_by_whom_other_files_may(path: Path) -> None:
    (other := path.with_name("other")).touch()
    assert path.stat().st_mode == other.stat().st_mode


def test_a_name_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path, checkpoint: Checkpoint) -> None:
    taken = tmp_path / "best.safetensors"
    taken.mkdir()
    with pytest.raises(OSError, match="directory"):
        save_checkpoint(checkpoint, taken)
    assert list(tmp_path.iterdir()) == [taken]


def bit_flipped(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        (byte,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


@pytest.mark.parametrize("part", ["head", "weights"])
def test_a_bit_that_flips_is_found(path: Path, part: str) -> None:
    size = path.stat().st_size
    head = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    places = range(8 * head) if part == "head" else range(8 * head, 8 * size)
    for bit in [places[0], places[-1], *random.Random(7).sample(places, 60)]:
        bit_flipped(path, bit)
        with pytest.raises(DatasetError, match=r"best\.safetensors: .*damaged.*use another checkpoint"):
            load_checkpoint(path)
        bit_flipped(path, bit)
    assert load_checkpoint(path).epoch == 5


def test_another_number_in_the_metadata_is_damage_too(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = {**file.metadata(), "epoch": "6"}
        weights = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dict
    save_file(weights, path, metadata)
    with pytest.raises(DatasetError, match="damaged, its content is not what was written"):
        load_checkpoint(path)


def test_other_programs_read_the_weights_of_a_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    theirs, ours = load_file(path), checkpoint.detector.state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) and theirs[name].dtype == ours[name].dtype for name in ours)
