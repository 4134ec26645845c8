from pathlib import Path

import numpy as np
import pytest
import torch

from data.boxes import label_set
from data.dataset import Dataset
from data.errors import DatasetError
from data.manifest import Split
from model.checkpoint import Checkpoint, save_checkpoint
from model.detector import SpikingDetector
from model.head import BINS, EMBEDDING, Predictions
from model.recording_detections import detect_checkpoint, detect_recording
from model.trial_config import TrialConfig


class Blinking(SpikingDetector):
    """Is sure of a box around (40, 24) in every window that has an event, and half sure of one around (80, 40)."""

    def forward(self, frames_TBCHW: torch.Tensor, continues: torch.Tensor | None = None) -> Predictions:
        assert continues is None
        T, B = frames_TBCHW.shape[:2]
        sides = torch.zeros(T, B, 2, 4, BINS)
        sides[..., 1] = 200.0
        classes = torch.full((T, B, 2, 2), -9.0)
        awake = (frames_TBCHW > 0).flatten(2).any(-1).any(0)
        classes[..., 0, 1] = torch.where(awake, 3.0, -9.0)
        classes[..., 1, 0] = torch.logit(torch.tensor(0.25))
        embeddings = torch.ones(T, B, 2, EMBEDDING)
        return Predictions(sides, classes, embeddings, torch.tensor([[40.0, 24], [80, 40]]), torch.tensor([8.0, 8]))


@pytest.fixture
def checkpoint(tiny_dataset: Dataset) -> Checkpoint:
    config = TrialConfig()
    detector = Blinking(config.model, config.data.representation, config.data.time_steps, 2)
    return Checkpoint(detector, config, tiny_dataset.label_set, tiny_dataset.size, 1, {})


def test_boxes_are_found_at_the_times_asked_for_and_keep_their_track(
    checkpoint: Checkpoint, tiny_dataset: Dataset
) -> None:
    shard = tiny_dataset.shards(Split.VAL)[0]
    times_us = [shard.first_us + ms * 1000 for ms in range(300, 700, 40)]  # two batches
    found = detect_recording(checkpoint, shard, times_us)
    assert found.boxes.t.tolist() == times_us
    assert found.boxes.xywh.tolist() == [[32, 16, 16, 16]] * len(times_us)
    assert set(found.boxes.class_id.tolist()) == {1}
    assert set(found.boxes.track_id.tolist()) == {1}


def test_boxes_in_no_track_are_told_from_the_score_asked_for(checkpoint: Checkpoint, tiny_dataset: Dataset) -> None:
    shard = tiny_dataset.shards(Split.VAL)[0]
    found = detect_recording(checkpoint, shard, [shard.first_us + 300_000], least_score=0.2)
    assert found.boxes.class_id.tolist() == [1, 0]
    assert found.boxes.track_id.tolist() == [1, 0]
    np.testing.assert_allclose(found.scores, [1 / (1 + np.exp(-3)), 0.25], rtol=1e-5)


def test_a_checkpoint_of_another_label_set_is_refused(
    tmp_path: Path, checkpoint: Checkpoint, tiny_dataset: Dataset
) -> None:
    foreign = Checkpoint(checkpoint.detector, checkpoint.config, label_set("etram3"), tiny_dataset.size, 1, {})
    save_checkpoint(foreign, tmp_path / "x.safetensors")
    shard = tiny_dataset.shards(Split.VAL)[0]
    with pytest.raises(DatasetError, match=r"x\.safetensors"):
        detect_checkpoint(tmp_path / "x.safetensors", tiny_dataset, shard, [shard.first_us + 300_000], "cpu")
