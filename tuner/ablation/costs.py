"""What the detector of a configuration costs, whatever it has learnt."""

from dataclasses import dataclass

from data.dataset import Dataset
from data.frame_size import content_size, padded
from model.device import resolve_device
from model.profiling.profile import profile_detector
from model.profiling.untrained import synthetic_frames, untrained_detector
from model.trial_config import TrialConfig

LATENCY_RUNS = 30


@dataclass(frozen=True)
class NetCosts:
    """The costs of one window."""

    parameters: int
    macs: float
    peak_stage: str  # of the most MACs
    peak_macs: float
    balance: float  # the peak against the mean of all stages
    cio: float  # numbers that convolutions read and write a time step
    frames_per_s: float  # windows a second, one at a time, from the median call


def net_costs(config: TrialConfig, dataset: Dataset) -> NetCosts:
    """Measured on an untrained detector and noise of the dataset's size, on the device that trainings use."""
    data = config.data
    height, width = padded(content_size(dataset.size, data.scale), data.square)
    frames_TBCHW = synthetic_frames(data.representation, data.time_steps, 1, height, width, config.training.seed)
    detector = untrained_detector(config, len(dataset.label_set.classes), frames_TBCHW).to(resolve_device("auto"))
    profile = profile_detector(detector, frames_TBCHW, LATENCY_RUNS)
    assert profile.latency is not None
    return NetCosts(
        parameters=profile.parameters,
        macs=profile.macs,
        peak_stage=profile.peak_stage.name,
        peak_macs=profile.peak_stage.macs,
        balance=profile.balance,
        cio=profile.cio,
        frames_per_s=1000 / profile.latency.p50_ms,
    )
