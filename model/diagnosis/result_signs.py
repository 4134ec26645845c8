"""What a detector answers in evaluation windows, beside the truth: where its boxes lie, and what it takes them for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from data.boxes import Boxes
from data.data_config import DataConfig
from data.events import SensorSize
from data.frame_size import content_size
from data.shards import Shard
from data.windows import evaluation_times
from model.detector import SpikingDetector
from model.diagnosis.layer_signs import silence_watched
from model.evaluation.confusion import confusion
from model.evaluation.protocol import large_enough, tables
from model.head import STRIDES, Predictions
from model.prediction import EvaluationWindows, Validation
from model.profiling.firing import firing_watched

BEST_SHARE = 0.5  # of a window's best score: points with less are not its answer


@dataclass(frozen=True, slots=True)
class ResultSigns:
    """What came out of the windows looked at, and what the evaluation would count of the split."""

    windows: int
    found_at_origin: float  # share of the best predictions that lie in the corner of the origin
    truth_at_origin: float  # share of the windows' true boxes that lie there
    met: list[list[int]]  # [K, K] true class, found class: boxes met by a prediction of any class at an IoU of .5
    truth: int  # true boxes of the windows
    boxes: int  # true boxes at the evaluation times of the whole split
    filtered: int  # those of them that the evaluation's filter leaves out
    rates: dict[str, float]  # by neuron layer: spikes a neuron and time step
    silent: dict[str, float]  # by neuron layer: share of the channels that never fired

    @property
    def met_share(self) -> float:
        """Share of the windows' true boxes that were met."""
        return sum(map(sum, self.met)) / max(self.truth, 1)


def result_signs(
    detector: SpikingDetector, config: DataConfig, shards: Sequence[Shard], validation: Validation, classes: int
) -> ResultSigns:
    """Let the detector answer, by the way every evaluation takes. Leaves it in evaluation mode."""
    size = shards[0].size
    found_shares: list[float] = []
    corner = _corner(size, config.scale)

    def note(_: nn.Module, __: object, predictions: Predictions) -> None:
        found_shares.extend(shares_within(predictions, corner))

    windows = EvaluationWindows(shards, config, validation)
    handle = detector.register_forward_hook(note)
    try:
        with firing_watched(detector) as rates, silence_watched(detector) as silent:
            results = windows.predict(detector, next(detector.parameters()).device)
    finally:
        handle.remove()
    boxes, filtered = filter_counts(shards, size)
    truth, found = tables(results)
    centres = (truth.xywh[:, :2] + truth.xywh[:, 2:] / 2) * config.scale
    K = max(classes, int(truth.class_id.max(initial=0)) + 1)
    return ResultSigns(
        windows=len(results),
        found_at_origin=float(np.mean(found_shares)),
        truth_at_origin=float((centres < corner).all(1).mean()),
        met=confusion(truth, found, K).counts[:K, :K].tolist(),
        truth=len(truth.image),
        boxes=boxes,
        filtered=filtered,
        rates=dict(rates),
        silent=dict(silent),
    )


def filter_counts(shards: Sequence[Shard], size: SensorSize) -> tuple[int, int]:
    """The true boxes of a split at evaluation times, and those of them too small to be counted."""
    counted = [_counted(shard.boxes) for shard in shards]
    kept = [int(large_enough(boxes.xywh, size).sum()) for boxes in counted]
    total = sum(map(len, counted))
    return total, total - sum(kept)


def _counted(boxes: Boxes) -> Boxes:
    return boxes.take(np.isin(boxes.t, evaluation_times(boxes.times())))


def _corner(size: SensorSize, scale: float) -> npt.NDArray[np.float64]:
    """x, y of the corner's end in output pixels: where anchor points lie that lack their stride, and a cell more."""
    height, width = content_size(size, scale)
    return np.array([width, height]) / STRIDES[0] + STRIDES[0]


def shares_within(predictions: Predictions, corner: npt.NDArray[np.float64]) -> list[float]:
    """Of each window's best-scored points at the last step, the share whose boxes are centred before x, y `corner`."""
    scores_BN = predictions.scores()[-1].amax(-1)
    corners_BN4 = predictions.corners()[-1]
    centres_BN2 = (corners_BN4[..., :2] + corners_BN4[..., 2:]) / 2
    within_BN = (centres_BN2 < centres_BN2.new_tensor(corner)).all(-1)
    # All that come near the best, not a fixed number: of equal scores a number would take the first, top left.
    best_BN = scores_BN >= BEST_SHARE * scores_BN.amax(-1, keepdim=True)
    shares: list[float] = ((within_BN & best_BN).sum(-1) / best_BN.sum(-1).clamp(min=1)).tolist()
    return shares
