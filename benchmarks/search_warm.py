"""Whether a warm start beats a cold one: `auto` that knows earlier trials of neighbouring tasks, against `auto`.

    pip install -e '.[dev,benchmarks]'
    python benchmarks/search_warm.py [--quick] [--save FILE] [--json FILE]

Tasks, budgets and regret are those of search.py. A task's neighbours are the three whose final accuracies are ordered
most like its own, over a sample of configurations shared by all; known of each are 30 full trainings of random
configurations. Ratios are paired by task and seed; significant is one whose 95 % interval lies below 1.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path[0] = str(Path(__file__).parent.parent)

from scipy.stats import spearmanr

from benchmarks.search_job import READINGS, SAMPLE, Job, Runs, code_digest
from benchmarks.search_regret import mean, ratio, regrets
from benchmarks.search_runs import complete
from benchmarks.search_surrogate import DEFAULT_FOLDER, Surrogate, spread
from benchmarks.table import Row, console, finish

OURS = "auto+promotion"
BUDGETS = (5, 20)  # full trainings
NEIGHBOURS = 3
COMPARED = 200  # configurations by which tasks are compared


def neighbours(surrogate: Surrogate, tasks: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The nearest other tasks of each, nearest first."""
    configs = surrogate.sample(seed=1, count=COMPARED)
    finals = np.array([[surrogate.train(task, config).accuracy[-1] for config in configs] for task in surrogate.tasks])
    likeness = spearmanr(finals, axis=1).statistic
    nearest = {}
    for task in tasks:
        order = np.argsort(-likeness[surrogate.tasks.index(task)])
        others = [surrogate.tasks[place] for place in order if surrogate.tasks[place] != task]
        nearest[task] = tuple(others[:NEIGHBOURS])
    return nearest


def rows(runs: Runs, jobs: Sequence[Job]) -> list[Row]:
    """Warm against cold at every reading of every budget."""
    found: list[Row] = []
    for budget in BUDGETS:
        here = [job for job in jobs if job.budget == budget and job.strategy != SAMPLE]
        warm = regrets(runs, (job for job in here if job.neighbours))
        cold = regrets(runs, (job for job in here if not job.neighbours))
        for reading, share in enumerate(READINGS):
            compared = ratio(warm, cold, reading)
            found.append(
                {
                    "figure": f"regret at {share:.0%} of {budget} trainings, warm against cold",
                    "ours": mean(warm, reading).value,
                    "peer": mean(cold, reading).value,
                    "ratio": compared.value,
                    "interval": f"{compared.low:.2f} to {compared.high:.2f}",
                    "must": "interval below 1",
                    "holds": compared.high < 1,
                }
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yahpo", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--quick", action="store_true", help="8 tasks, 5 seeds")
    parser.add_argument("--tasks", type=int)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not (arguments.yahpo / "model.onnx").is_file():
        console.print(f"no model.onnx in {arguments.yahpo}: nothing to measure; name its folder with --yahpo")
        return
    surrogate = Surrogate(arguments.yahpo)
    tasks = spread(surrogate.tasks, arguments.tasks or (8 if arguments.quick else len(surrogate.tasks)))
    nearest = neighbours(surrogate, tasks)
    jobs = [Job(SAMPLE, task) for task in tasks]
    for seed in range(arguments.seeds or (5 if arguments.quick else 20)):
        for budget in BUDGETS:
            jobs += [
                Job(OURS, task, seed, 0.0, budget, known, code_digest())
                for task in tasks
                for known in ((), nearest[task])
            ]
    runs = Runs(arguments.save)
    complete(jobs, runs, arguments.yahpo, interpreter=lambda _: Path(sys.executable), processes=arguments.jobs)
    finish(rows(runs, jobs), arguments.json)


if __name__ == "__main__":
    main()
