"""What the search itself costs: suggestions, reports, new trials, resuming, and the driver's memory.

    python benchmarks/search_overhead.py [--json FILE]

The history is made up: ten hyperparameters, curves of up to 52 epochs that rise to a smooth function of them, a third
of the trials beyond each rung of successive halving. Times are medians of suggestions in a row, each with one trial
more; the first of them is told apart, because a search that has just been resumed makes it with nothing prepared.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path[0] = str(Path(__file__).parent.parent)

from benchmarks.search_engine import engine_rows
from benchmarks.table import Row, console, finish, limit
from tuner.domains import Choice, Integer, Real
from tuner.samplers.build import build_sampler
from tuner.samplers.names import SamplerName
from tuner.samplers.observation import Observation, Stage, Values
from tuner.space import Branch, Space

EPOCHS = 52
RUNGS = (2, 6, 18)
SUGGESTIONS = 15
LIMITS_MS = {200: 100.0, 10_000: 200.0}  # by trials in the study
SPACE = Space(
    [Branch(f"real{place}", Real(1e-4, 1e-1, log=True)) for place in range(3)]
    + [Branch(f"share{place}", Real(0.0, 1.0)) for place in range(3)]
    + [Branch(f"count{place}", Integer(1, 64, log=True)) for place in range(2)]
    + [Branch(f"choice{place}", Choice(("a", "b", "c"))) for place in range(2)]
)


def trial(number: int, values: Values) -> Observation:
    """A trial of the study, stopped at a rung or trained in full."""
    generator = np.random.default_rng(number)
    numbers = [float(value) for value in values.values() if not isinstance(value, str)]
    top = 0.5 + 0.3 * float(np.cos(numbers).mean()) + 0.02 * generator.normal()
    last = next((rung for rung in RUNGS if generator.random() > 1 / 3), EPOCHS)
    curve = {epoch: (top * (1 - 0.7 ** (epoch + 1)),) for epoch in range(1, last + 1)}
    return Observation(number, values, curve, Stage.ENDED)


def history(trials: int) -> list[Observation]:
    """The study so far, sampled at random."""
    sampler = build_sampler(SamplerName.RANDOM, SPACE, seed=0, epochs=EPOCHS, trials=trials, workers=4)
    return [trial(number, sampler.propose(number, []).values) for number in range(trials)]


def measure(trials: int) -> Row:
    """Suggestions with so many trials in the study."""
    known = history(trials)
    sampler = build_sampler(SamplerName.AUTO, SPACE, seed=0, epochs=EPOCHS, trials=trials + 100, workers=4)
    times_ms = []
    for number in range(trials, trials + SUGGESTIONS):
        begun = time.perf_counter()
        proposal = sampler.propose(number, known)
        times_ms.append(1000 * (time.perf_counter() - begun))
        known.append(trial(number, proposal.values))
    console.print(
        f"{trials} trials: the first suggestion took {times_ms[0]:.0f} ms, the longest {max(times_ms):.0f} ms"
    )
    return limit(f"ms a suggestion at {trials} trials", statistics.median(times_ms), LIMITS_MS[trials])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = [measure(trials) for trials in LIMITS_MS]
    finish([*rows, *engine_rows()], arguments.json)


if __name__ == "__main__":
    main()
