"""The boxes of a batch as rectangular tensors, image by image."""

from dataclasses import dataclass

import torch

from data.batches import Batch


@dataclass(frozen=True, slots=True)
class Targets:
    """The boxes of I images, padded to the M of the fullest."""

    corners: torch.Tensor  # [I, M, 4]; image I is step * B + row
    classes: torch.Tensor  # int64 [I, M]
    tracks: torch.Tensor  # int64 [I, M]
    real: torch.Tensor  # bool [I, M]; the rest pads


def padded_targets(batch: Batch) -> Targets:
    """The boxes of each image of a batch, side by side."""
    images = batch.targets[:, 0].long()
    counts = torch.bincount(images, minlength=batch.labelled.numel())
    most = max(1, int(counts.max()))
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(images), device=images.device) - starts[images]  # targets stand in order of their images
    corners = batch.targets.new_zeros(len(counts), most, 4)
    classes, tracks = images.new_zeros(len(counts), most), images.new_zeros(len(counts), most)
    corners[images, place] = batch.targets[:, 2:]
    classes[images, place] = batch.targets[:, 1].long()
    tracks[images, place] = batch.tracks
    real = torch.arange(most, device=images.device) < counts[:, None]
    return Targets(corners, classes, tracks, real)
