"""Learning from earlier searches: their trials as observations, where they mean the same."""

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import ConfigError
from tuner.run_history import experiment_trials
from tuner.samplers.observation import Observation, Stage
from tuner.search_folder import RUNS, SPEC_FILE, read_identity
from tuner.spec.search_spec import SearchSpec, load_spec
from tuner.study.address import URL_VARIABLE
from tuner.study.history import read_trials
from tuner.study.record import LOST, UNFINISHED, TrialKind, TrialRecord

EXPERIMENT = "mlflow:"
FEW = 3  # leaves outside of the space that may differ: then earlier trials are a prior, not observations
# Not part of what is compared: seeds, and how fast or where a training runs.
_NO_MATTER = ("training.seed", "training.compile", "training.precision", "training.epochs", "training.checkpoint.")


@dataclass(frozen=True)
class Earlier:
    """What one earlier search brings."""

    name: str
    observations: tuple[Observation, ...]
    differs: tuple[str, ...] = ()  # leaves outside of the space
    left_out: int = 0  # trials with values outside of the space's domains

    @property
    def told(self) -> str:
        """One line for the user."""
        count = f"{len(self.observations)} trials of {self.name}"
        dropped = f" ({self.left_out} outside of the space left out)" if self.left_out else ""
        if self.differs:
            return f"warm start: {count} as a prior{dropped}, for they differ in {', '.join(self.differs)}"
        return f"warm start: {count} as observations{dropped}"


def warm_start(spec: SearchSpec, digest: str) -> list[Earlier]:
    """What the searches that `warm_start` names bring.

    Args:
        spec: of the search to begin.
        digest: of its dataset. Trials of another dataset are a prior.

    Raises:
        ConfigError: one of them does not exist, was evaluated otherwise, or differs in more than a few leaves.
    """
    found: list[Earlier] = []
    for name in spec.file.warm_start:
        taken = sum(len(one.observations) for one in found)
        if name.startswith(EXPERIMENT):
            found.append(_from_experiment(spec, name, taken))
        else:
            found.append(_from(spec, name, digest, taken))
    return found


def _from(spec: SearchSpec, name: str, digest: str, taken: int) -> Earlier:
    folder = next((path for path in (Path(name), RUNS / name) if (path / SPEC_FILE).is_file()), None)
    if folder is None:
        hint = "" if os.environ.get(URL_VARIABLE) else " or a search id below runs/"
        raise ConfigError(f"warm_start: {name}: is no folder of a search{hint}; give one, or {EXPERIMENT}EXPERIMENT")
    other = load_spec(folder / SPEC_FILE)
    mine, theirs = spec.file.objective, other.file.objective
    for field in ("metrics", "modes", "split", "windows"):
        if getattr(mine, field) != getattr(theirs, field):
            told = f"{getattr(theirs, field)}, here it is {getattr(mine, field)}"
            raise ConfigError(f"warm_start: {name}: its objective's {field} was {told}; values cannot be compared")
    identity = read_identity(folder)
    _, records = read_trials(folder, identity.search_id)
    elsewhere = ("the dataset",) if identity.digest != digest else ()
    return _earlier(spec, identity.search_id, records, elsewhere, taken)


def _from_experiment(spec: SearchSpec, name: str, taken: int) -> Earlier:
    experiment = name.removeprefix(EXPERIMENT)
    records = experiment_trials(experiment, spec)
    if not records:
        raise ConfigError(
            f"warm_start: {name}: holds no trials with the same objective, split and windows; check its name with "
            "`spiketune ui`"
        )
    return _earlier(spec, name, records, (), taken)


def _earlier(
    spec: SearchSpec, name: str, records: Sequence[TrialRecord], elsewhere: tuple[str, ...], taken: int
) -> Earlier:
    mine = spec.default.leaves()
    # An heir's curve begins with another trial's weights, and says nothing of its own settings alone.
    own = [r for r in records if r.origin.kind is TrialKind.SEARCH and r.origin.donor is None]
    useful = [r for r in own if r.state not in UNFINISHED and r.curve]
    differs = (*elsewhere, *_differing(spec, mine, useful))
    if len(differs) > FEW:
        told = ", ".join(differs[:5])
        raise ConfigError(
            f"warm_start: {name}: its trials differ in {len(differs)} settings outside of this space ({told}, ...); at "
            f"most {FEW} may; make the fixed settings alike, or leave it out"
        )
    observations: list[Observation] = []
    for record in useful:
        if spec.space.holds(record.config):
            number = -1 - taken - len(observations)  # below those of the search itself
            observations.append(_observation(spec, record, number, name if differs else None))
    return Earlier(name, tuple(observations), differs, len(useful) - len(observations))


def _differing(spec: SearchSpec, mine: dict[str, Any], records: Iterable[TrialRecord]) -> list[str]:
    """Leaves that are fixed here and had another value there, in any trial."""
    sampled = set(spec.space.leaves)
    found: dict[str, None] = {}
    for record in records:
        for leaf, value in record.config.items():
            if leaf not in sampled and not leaf.startswith(_NO_MATTER) and mine.get(leaf, value) != value:
                found[leaf] = None
    return list(found)


def _observation(spec: SearchSpec, record: TrialRecord, number: int, source: str | None) -> Observation:
    rising = spec.file.objective.rising
    finite = {epoch: values for epoch, values in record.curve.items() if all(map(math.isfinite, values))}
    return Observation(
        number=number,
        values={branch.name: value for branch, value in spec.space.observed(record.config)},
        curve={epoch: rising(values) for epoch, values in finite.items()},
        stage=Stage.LOST if record.state in LOST else Stage.ENDED,
        violation=record.violation,
        source=source,
    )
