"""What a trained I-LIF detector is worth besides its mAP: energy, tracks with and without appearance, spikes alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from data.manifest import Split
from model.detector import SpikingDetector
from model.prediction import EvaluationWindows, Validation
from model.profiling.profile import profile_detector
from model.spike_driven import spike_driven
from model.tracking.config import TrackingConfig
from model.tracking.scores import evaluate_tracks
from model.tracking.tracker import track_windows
from model.training.trainer import Trainer

SAMPLED = 32  # validation windows, evenly spaced, on which spikes are counted and unrolled


@dataclass(frozen=True, slots=True)
class Merits:
    """Of one trained I-LIF detector, on unseen windows."""

    energy_pj: float  # a frame
    twin_energy_pj: float
    hota: float  # with embeddings
    hota_without: float  # on the same detections
    unrolled_difference: float  # of boxes and scores, spike-driven against integer, against the largest


def merits(trainer: Trainer) -> Merits:
    """Measure a detector at the end of its training."""
    config, dataset = trainer.config, trainer.dataset
    sample = EvaluationWindows(dataset.shards(Split.VAL), config.data, Validation(windows=SAMPLED))
    batches = [frames_TBCHW for _, frames_TBCHW in sample.loader]
    profile = profile_detector(trainer.detector, torch.cat(batches, dim=1))
    results = trainer.windows.predict(trainer.detector, trainer.device)

    def hota(tracking: TrackingConfig) -> float:
        score = evaluate_tracks(track_windows(results, tracking), dataset.label_set, dataset.size).overall.hota
        return score or 0.0

    without = TrackingConfig.model_validate({**config.tracking.model_dump(), "embedding_weight": 0.0})
    return Merits(
        energy_pj=profile.energy_pj,
        twin_energy_pj=profile.twin_energy_pj,
        hota=hota(config.tracking),
        hota_without=hota(without),
        unrolled_difference=_unrolled_difference(trainer, batches),
    )


@torch.no_grad()
def _unrolled_difference(trainer: Trainer, batches: Sequence[torch.Tensor]) -> float:
    """Largest difference of any box side or score, before suppression, as a share of the largest of its kind.

    In double precision: sums in another order differ in their last digit, and where a membrane stands at the border
    between two counts, that digit of a single-precision sum decides.
    """
    config = trainer.config
    integer = SpikingDetector(
        config.model, config.data.representation, config.data.time_steps, len(trainer.dataset.label_set.classes)
    )
    integer.load_state_dict(trainer.detector.state_dict())
    integer.double().eval()
    unrolled = spike_driven(integer)
    worst = 0.0
    for frames_TBCHW in batches:
        ours, theirs = unrolled(frames_TBCHW), integer(frames_TBCHW)
        for one, other in ((ours.corners(), theirs.corners()), (ours.scores(), theirs.scores())):
            worst = max(worst, float((one - other).abs().max() / other.abs().max()))
    return worst
