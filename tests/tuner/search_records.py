"""Records of trials as a study would hold them, for tests of what is made of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuner.spec.search_spec import SearchSpec, load_spec
from tuner.study.record import Origin, TrialKind, TrialRecord, TrialState

SPEC = """\
name: tiny
space: {loss.box: {uniform: [2, 15]}, optimizer.name: {choice: [sgd, adamw]}}
budget: {trials: 9, epochs: 4}
"""


def spec_of(folder: Path, text: str = SPEC) -> SearchSpec:
    (folder / "spec.yaml").write_text(text)
    return load_spec(folder / "spec.yaml")


def record(
    spec: SearchSpec,
    number: int,
    values: Sequence[float | tuple[float, ...]],
    state: TrialState = TrialState.COMPLETE,
    repeats: int | None = None,
    sampled: dict[str, Any] | None = None,
    **facts: Any,
) -> TrialRecord:
    """A trial whose last epoch was its best; a value for each epoch, or one for each objective and epoch."""
    kind = TrialKind.SEARCH if repeats is None else TrialKind.REPEAT
    curve = {e: v if isinstance(v, tuple) else (v,) for e, v in enumerate(values, start=1)}
    last = curve[max(curve)] if curve else (0.0,)
    metrics = {"map": last[0], "map50": last[0], "map75": last[0]} if curve else None
    return TrialRecord(
        number, Origin(sampled or {}, kind, repeats), spec.default.leaves(), state, curve,
        max(curve) if curve else None, metrics, **facts,
    )  # fmt: skip
