"""What a trial's numbers are called in MLflow: a plain name is a column worth sorting by, all else lies in a group.

MLflow draws the charts of a group, which is what stands before a slash, apart from the others: `system/` on a page of
its own, and `training/` below its `Model metrics`, for it goes by the alphabet.
"""

from collections.abc import Mapping

_OF_A_TRAINING = frozenset(
    {
        "lr",
        "windows_per_second",
        "waiting",
        "seconds",
        "steps",
        "batch_size",
        "skipped_steps",
        "worker_restarts",
        "bad_shards",
    }
)
_LEFT_OUT = frozenset({"best", "last"})  # best_epoch and the trial's state tell it


def column(metric: str) -> str:
    """A metric's name in MLflow: `lr` is `training/lr`, `system_memory_mib` is `system/memory_mib`, `map` is `map`."""
    if metric.startswith("system_"):
        return f"system/{metric.removeprefix('system_')}"
    if metric in _OF_A_TRAINING or metric.startswith("loss_"):
        return f"training/{metric}"
    return metric


def columns(metrics: Mapping[str, float]) -> dict[str, float]:
    """An epoch's metrics under their names in MLflow."""
    return {column(name): float(value) for name, value in metrics.items() if name not in _LEFT_OUT}


def best_columns(scores: Mapping[str, float], best_epoch: int | None) -> dict[str, float]:
    """Those of the best epoch so far, `best_map` first of all: what a table of trials is sorted by."""
    if best_epoch is None or not scores:
        return {}
    return {**{f"best_{name}": float(value) for name, value in scores.items()}, "best_epoch": float(best_epoch)}
