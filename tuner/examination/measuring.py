"""Measuring: everything an examination tells, as JSON values and as pictures in a folder."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data.dataset import Dataset
from data.loading import EvaluationLoader
from model.checkpoint import Checkpoint, load_checkpoint
from model.device import resolve_device
from model.evaluation.bootstrap import CONFIDENCE, RESAMPLES, Bootstrap, bootstrap
from model.evaluation.protocol import summarize
from model.prediction import EvaluationWindows, Validation, WindowResult, check_fits
from model.profiling.profile import profile_detector
from tuner.examination.audited import audit_summary
from tuner.examination.clip import write_clip
from tuner.examination.gallery import OVERLAP, SCORE, write_gallery

PROFILED = 4  # windows over which spikes are averaged
RUNS = 20  # calls that are timed


def measure(
    winner: Path, default: Path | None, dataset: Dataset, validation: Validation, folder: Path
) -> dict[str, Any]:
    """Measure a winner on the windows it was chosen by, and the default configuration's detector beside it.

    Args:
        winner: its checkpoint.
        default: the default's checkpoint, if it is kept and not the winner itself.
        dataset: that of the search.
        validation: that of the search.
        folder: pictures are written here.

    Raises:
        DatasetError: a checkpoint cannot be read or is of another dataset.
    """
    checkpoint, results = _predicted(winner, dataset, validation)
    others = [] if default is None else [_predicted(default, dataset, validation)[1]]
    shards = dataset.shards(validation.split)
    evaluation = summarize(results, dataset.label_set, dataset.size)
    drawn = bootstrap([results, *others], dataset.label_set, dataset.size)
    clip = write_clip(checkpoint, shards, folder)
    return {
        "split": validation.split.value,
        "epoch": checkpoint.epoch,
        "evaluation": evaluation.as_dict(curves=True),
        "intervals": _intervals(drawn),
        "default": _default(others, dataset),
        "gallery": {
            "score": SCORE,
            "overlap": OVERLAP,
            "pictures": [asdict(picture) for picture in write_gallery(results, shards, dataset.label_set, folder)],
        },
        "clip": None if clip is None else asdict(clip),
        "cost": _cost(checkpoint, dataset, validation),
        "audit": audit_summary(dataset),
    }


def _predicted(path: Path, dataset: Dataset, validation: Validation) -> tuple[Checkpoint, list[WindowResult]]:
    device = resolve_device("auto")
    checkpoint = load_checkpoint(path, device)
    check_fits(checkpoint, path, dataset)
    windows = EvaluationWindows(dataset.shards(validation.split), checkpoint.config.data, validation)
    return checkpoint, windows.predict(checkpoint.detector, device)


def _intervals(drawn: Bootstrap) -> dict[str, Any]:
    several = len(drawn.values) > 1
    return {
        "unit": drawn.unit,
        "units": drawn.units,
        "resamples": RESAMPLES,
        "confidence": CONFIDENCE,
        "map": drawn.interval(0),
        "default_map": drawn.interval(1) if several else None,
        "difference": drawn.difference(0, 1) if several else None,
    }


def _default(others: Sequence[Sequence[WindowResult]], dataset: Dataset) -> dict[str, Any] | None:
    return summarize(others[0], dataset.label_set, dataset.size).as_dict() if others else None


def _cost(checkpoint: Checkpoint, dataset: Dataset, validation: Validation) -> dict[str, Any]:
    """What one window costs, on the split's own windows."""
    loader = EvaluationLoader(dataset.shards(validation.split), checkpoint.config.data, PROFILED, PROFILED)
    _, frames_TBCHW = next(iter(loader))
    profile = profile_detector(checkpoint.detector, frames_TBCHW, RUNS)
    latency = profile.latency
    assert latency is not None, "runs were asked for"
    return {
        "parameters": profile.parameters,
        "energy_uj": profile.energy_pj / 1e6,
        "twin_energy_uj": profile.twin_energy_pj / 1e6,
        "synops": profile.synops,
        "multiplied": profile.multiplied,
        "latency_ms": latency.p50_ms,
        "latency_p99_ms": latency.p99_ms,
        "device": latency.device,
        "threads": latency.threads,
        "runs": latency.runs,
        "window_us": checkpoint.config.data.window_us,
        "time_steps": profile.time_steps,
        "height": profile.height,
        "width": profile.width,
    }
