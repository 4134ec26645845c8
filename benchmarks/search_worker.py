"""Runs searches told on standard input, a JSON line each, and answers with a line each. Started by search_runs.py, in
the environment that has the strategy's package.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)

from benchmarks.search_job import SAMPLE, Job
from benchmarks.search_simulation import Simulation, Strategy
from benchmarks.search_surrogate import Surrogate


def strategy(job: Job, surrogate: Surrogate) -> Strategy:
    """What a job names, from the package that it needs."""
    name, parameters = job.strategy, surrogate.parameters
    if name.startswith("syne-"):
        from benchmarks import search_syne_tune

        return search_syne_tune.strategy(name, parameters, job.seed)
    if job.is_ours:
        from benchmarks import search_ours

        return search_ours.strategy(job, surrogate)
    from benchmarks import search_rivals

    return search_rivals.STRATEGIES[name](parameters, job.seed)


def run(job: Job, surrogate: Surrogate) -> dict[str, Any]:
    """A job's result, as JSON has it."""
    if job.strategy == SAMPLE:
        return dataclasses.asdict(surrogate.scale(job.task))
    return dataclasses.asdict(Simulation(strategy(job, surrogate), surrogate, job).run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    surrogate = Surrogate(parser.parse_args().folder)
    answers, sys.stdout = sys.stdout, sys.stderr  # packages that print must not disturb
    for line in sys.stdin:
        print(json.dumps(run(Job.parse(line), surrogate)), file=answers, flush=True)


if __name__ == "__main__":
    main()
