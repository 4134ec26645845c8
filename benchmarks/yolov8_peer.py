"""Ultralytics YOLOv8n, trained from scratch by its own recipe on the batches our detectors get. A peer; never a part
of the product: it is under the AGPL.

Its loss, its optimizer (`auto`), its averaged weights and its schedule are its own, called from its package. The loop
around them follows its trainer, which reads image files and not event frames. It sees a window as one image of T * C
channels, and learns from the labels of the window's end.
"""

import importlib
import importlib.machinery
import os
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from data.batches import Batch
from data.loading import TrainingLoader
from model.detector import COUNT_CAP, DetectorConfig


@dataclass(frozen=True, slots=True)
class Recipe:
    """What of its training depends on how long it lasts."""

    nominal_batch: int  # images a step, by gradients of batches added up
    warm_up_share: float  # of the training that its three epochs of warm-up take at most


# As its trainer does. It was made for long trainings: a short one has few steps of 64 images.
OWN_RECIPE = Recipe(nominal_batch=64, warm_up_share=1.0)
# The peer at its best in short ones: a step for each batch of 4, as ours, and a short warm-up.
SHORT_RECIPE = Recipe(nominal_batch=4, warm_up_share=0.1)


def ultralytics() -> types.SimpleNamespace:
    """What is used of its package, imported without its settings, network or torchvision.

    torchvision's builds load beside few builds of PyTorch; YOLOv8's training calls none of it, its own suppression
    would. An empty module stands in for it, unless the real one loads.
    """
    os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false")
    os.environ.setdefault("YOLO_CONFIG_DIR", str(Path(os.environ.get("TMPDIR", "/tmp")) / "yolo_settings"))
    Path(os.environ["YOLO_CONFIG_DIR"]).mkdir(parents=True, exist_ok=True)
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        stand_in = types.ModuleType("torchvision")
        stand_in.__spec__ = importlib.machinery.ModuleSpec("torchvision", None)
        stand_in.__version__ = "0.0.0"  # type: ignore[attr-defined]
        sys.modules["torchvision"] = stand_in
    from ultralytics.cfg import get_cfg
    from ultralytics.engine.trainer import BaseTrainer
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils.torch_utils import ModelEMA

    return types.SimpleNamespace(
        get_cfg=get_cfg, BaseTrainer=BaseTrainer, DetectionModel=DetectionModel, ModelEMA=ModelEMA
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What the peer says of a window's end, in the shape our decoding reads."""

    boxes: torch.Tensor  # [1, B, N, 4] corners in output pixels
    probabilities: torch.Tensor  # [1, B, N, K]
    embeddings: torch.Tensor  # [1, B, N, 1]: it has none

    def part(self, steps: slice, rows: slice) -> "Answer":
        said = (self.boxes, self.probabilities, self.embeddings)
        return Answer(*(values[steps, rows] for values in said))

    def corners(self) -> torch.Tensor:
        return self.boxes

    def scores(self) -> torch.Tensor:
        return self.probabilities


class Yolov8n(nn.Module):
    """YOLOv8n with our detectors' interface: frames `[T, B, C, H, W]` to boxes and scores."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        package = ultralytics()
        self.config = DetectorConfig()  # how its answer is read: by the last step, which is its only one
        self.net = package.DetectionModel("yolov8n.yaml", ch=channels, nc=classes, verbose=False)
        self.net.args = package.get_cfg()  # its default gains of the loss

    def forward(self, frames_TBCHW: torch.Tensor) -> Answer:
        said = self.net(images(frames_TBCHW))[0].transpose(1, 2)[None]  # [1, B, N, 4 + K]
        centre, size = said[..., :2], said[..., 2:4]
        boxes = torch.cat([centre - size / 2, centre + size / 2], dim=-1)
        return Answer(boxes, said[..., 4:], torch.ones_like(said[..., :1]))

    def loss(self, batch: Batch) -> torch.Tensor:
        """Its own loss of a batch, times the number of images, as its trainer minimises it."""
        loss: torch.Tensor = self.net.loss(_last_step(batch))[0].sum()
        return loss


def images(frames_TBCHW: torch.Tensor) -> torch.Tensor:
    """All steps of a window as channels of one image, `[B, T * C, H, W]` in [0, 1]."""
    T, B, C, H, W = frames_TBCHW.shape
    return frames_TBCHW.transpose(0, 1).reshape(B, T * C, H, W).clamp(0, COUNT_CAP).float() / COUNT_CAP


def _last_step(batch: Batch) -> dict[str, torch.Tensor]:
    """The labels at the windows' ends; a window of which nothing is known then is left out."""
    T, B, _, H, W = batch.frames_TBCHW.shape
    known = batch.labelled[-1].nonzero().flatten()
    place = torch.full((B,), -1)
    place[known] = torch.arange(len(known))
    row = batch.targets[:, 0].long() - (T - 1) * B
    kept = row >= 0
    targets, image = batch.targets[kept], place[row[kept]]
    targets, image = targets[image >= 0], image[image >= 0]
    low, high = targets[:, 2:4], targets[:, 4:6]
    boxes = torch.cat([(low + high) / 2, high - low], dim=1) / torch.tensor([W, H, W, H])
    return {"img": images(batch.frames_TBCHW[:, known]), "batch_idx": image, "cls": targets[:, 1:2], "bboxes": boxes}


class Yolov8Trainer:
    """Its trainer's loop: warm-up, linear fall of the learning rate, clipped gradients, averaged weights."""

    def __init__(self, detector: Yolov8n, loader: TrainingLoader, epochs: int, classes: int, recipe: Recipe) -> None:
        package = ultralytics()
        self.detector, self._loader, self._epochs = detector, loader, epochs
        settings = package.get_cfg()
        stand_in = types.SimpleNamespace(args=settings, data={"nc": classes})  # all that is read of a trainer
        steps = len(loader) * epochs
        self._every = max(round(recipe.nominal_batch / loader.batch_size), 1)  # batches whose gradients are added up
        decay = settings.weight_decay * loader.batch_size * self._every / recipe.nominal_batch
        self._optimizer = package.BaseTrainer.build_optimizer(
            stand_in, detector.net, "auto", settings.lr0, settings.momentum, decay, steps / self._every
        )
        for group in self._optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        self._settings = settings
        self._warm_up = round(min(min(settings.warmup_epochs, epochs - 1) * len(loader), recipe.warm_up_share * steps))
        self._averaged: Any = package.ModelEMA(detector.net)
        self._batches = 0  # so far

    def epoch(self, number: int) -> None:
        """Train on the batches of one epoch, counted from 1."""
        self.detector.train()
        for batch in self._loader.epoch(number):
            self.step(batch, number - 1)

    def step(self, batch: Batch, epoch: int) -> None:
        """One batch, of an epoch counted from 0."""
        every = self._set_rates(epoch)
        if bool(batch.labelled[-1].any()):
            self.detector.loss(batch).backward()
        self._batches += 1
        if self._batches % every:
            return
        nn.utils.clip_grad_norm_(self.detector.net.parameters(), 10.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._averaged.update(self.detector.net)

    def keep_averaged(self) -> None:
        """Leave the averaged weights in the detector, which are those its trainer keeps."""
        self.detector.net.load_state_dict(self._averaged.ema.state_dict())

    def _set_rates(self, epoch: int) -> int:
        """Set the learning rate of the next batch; how many batches make a step."""
        fall = max(1 - epoch / self._epochs, 0) * (1 - self._settings.lrf) + self._settings.lrf
        risen = min(1.0, self._batches / self._warm_up) if self._warm_up else 1.0
        for group in self._optimizer.param_groups:
            first = self._settings.warmup_bias_lr if group.get("param_group") == "bias" else 0.0
            last = group["initial_lr"] * fall
            group["lr"] = first + (last - first) * risen
            if "momentum" in group:
                begun = self._settings.warmup_momentum
                group["momentum"] = begun + (self._settings.momentum - begun) * risen
        return max(1, round(float(np.interp(risen, [0, 1], [1, self._every]))))
