"""How good the search is: its own sampler and scheduler against named rivals, on trainings that a model foretells.

    pip install -e '.[dev,benchmarks]'
    python benchmarks/search.py [--quick] [--save FILE] [--json FILE] [--syne-tune PYTHON] [--syne-tune-cqr PYTHON]

The trainings are those of YAHPO Gym's surrogate of LCBench (Apache-2.0): 34 tasks, 7 hyperparameters, 52 epochs. Four
workers train in virtual time until 20 full trainings' worth of epochs are done, see search_simulation.py. Regret is
normalised: 0 is the best anyone found on the task, 1 is what random search finds that trains 20 configurations in full.
Means over tasks and seeds, with 95 % intervals of the bootstrap over both; ratios are paired. All schedulers compare
from 2 epochs on, with reduction factor 3, except Ray's at defaults (1 and 4) and Ultralytics' (10 and 3).

Ours is auto+promotion; any other SAMPLER+SCHEDULER of the product can be named with --only. Syne Tune's run in
environments of their own, see search_syne_tune.py; MOBSTER and CQR take so long that few seeds are run of them, and
--quick leaves CQR out: it takes two minutes for a search.
With --save, finished searches are kept in a file, and the same command goes on where it ended.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

# Beside this file lie some that share their names with packages: its folder must not be searched first.
sys.path[0] = str(Path(__file__).parent.parent)

from benchmarks.search_job import SAMPLE, Job, Runs, code_digest, is_ours
from benchmarks.search_regret import Cells, mean, regrets
from benchmarks.search_runs import complete
from benchmarks.search_surrogate import DEFAULT_FOLDER, Surrogate, spread
from benchmarks.search_verdicts import pace, verdicts
from benchmarks.table import Row, console, finish

OURS = "auto+promotion"
RIVALS = ("random", "random-asha", "tpe-asha", "optuna-asha", "ray", "ultralytics")
SYNE_TUNE = ("syne-asha-stopping", "syne-asha-promotion", "syne-bohb", "syne-mobster")
CONFORMAL = "syne-cqr"
SLOW = ("syne-mobster", CONFORMAL)
ALL_TASKS = 34
TABLE_WIDTH = 140  # a file or a pipe has 80 otherwise


def strategies(arguments: argparse.Namespace) -> list[str]:
    """Those asked for, or all for which there is an interpreter."""
    named = arguments.only or [OURS, *RIVALS, *SYNE_TUNE, *([] if arguments.quick else [CONFORMAL])]
    missing = [name for name in named if _interpreter(arguments, name) is None]
    if missing:
        console.print(f"left out without --syne-tune and --syne-tune-cqr: {', '.join(missing)}")
    return [name for name in named if name not in missing]


def _interpreter(arguments: argparse.Namespace, strategy: str) -> Path | None:
    if strategy == CONFORMAL:
        return arguments.syne_tune_cqr  # type: ignore[no-any-return]
    return arguments.syne_tune if strategy in SYNE_TUNE else Path(sys.executable)


def planned(names: Sequence[str], tasks: Sequence[str], arguments: argparse.Namespace) -> Iterator[Job]:
    """The searches, strategy by strategy, with the slow ones last."""
    for name in sorted(names, key=lambda name: name in SLOW):
        seeds = min(arguments.seeds, arguments.slow_seeds) if name in SLOW else arguments.seeds
        code = code_digest() if is_ours(name) else ""
        for noise in arguments.noise:
            for seed in range(seeds):
                yield from (Job(name, task, seed, noise, code=code) for task in tasks)


def show(noise: float, results: dict[str, Cells], runs: Runs, jobs: Sequence[Job]) -> None:
    """A line for each strategy."""
    table = Table("strategy", "seeds", "25 %", "50 %", "100 %", "trials", "resumed", "ms a suggestion")
    for name, cells in results.items():
        told = [runs[job] for job in jobs if job.strategy == name]
        counts = [f"{sum(run[key] for run in told) / len(told):.3g}" for key in ("trials", "resumed", "suggesting_ms")]
        seeds = len({seed for _, seed in cells})
        table.add_row(name, str(seeds), *(str(mean(cells, reading)) for reading in range(3)), *counts)
    console.print(f"Regret, noise of {noise:g} points an epoch, {len({job.task for job in jobs})} tasks")
    Console(width=max(console.width, TABLE_WIDTH)).print(table)


def compared(names: Sequence[str], jobs: Sequence[Job], runs: Runs, noises: Sequence[float]) -> list[Row]:
    """The tables of all levels of noise, and the rows of what must be shown."""
    rows: list[Row] = []
    for noise in noises:
        here = [job for job in jobs if job.noise == noise and job.strategy != SAMPLE]
        results = {name: regrets(runs, (job for job in here if job.strategy == name)) for name in names}
        results = {name: cells for name, cells in results.items() if cells}
        show(noise, results, runs, here)
        if OURS in results:
            rows += verdicts(noise, results.pop(OURS), {name: results[name] for name in results if not is_ours(name)})
    ours = [runs[job]["suggesting_ms"] for job in jobs if job.strategy == OURS]
    if ours:
        rows.append(pace(sum(ours) / len(ours)))
    return rows


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yahpo", type=Path, default=DEFAULT_FOLDER, help="folder with the surrogate's model.onnx")
    parser.add_argument("--quick", action="store_true", help="8 tasks, 5 seeds")
    parser.add_argument("--tasks", type=int)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--slow-seeds", type=int, help=f"of {' and '.join(SLOW)}")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0], help="points of accuracy: 0 0.3 1.0")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--syne-tune", type=Path, metavar="PYTHON", help="interpreter with Syne Tune 0.13")
    parser.add_argument("--syne-tune-cqr", type=Path, metavar="PYTHON", help="interpreter with Syne Tune 0.16")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    arguments.tasks = arguments.tasks or (8 if arguments.quick else ALL_TASKS)
    arguments.seeds = arguments.seeds or (5 if arguments.quick else 20)
    if arguments.slow_seeds is None:
        arguments.slow_seeds = 1 if arguments.quick else 3
    return arguments


def main() -> None:
    arguments = options()
    if not (arguments.yahpo / "model.onnx").is_file():
        console.print(f"no model.onnx in {arguments.yahpo}: nothing to measure; name its folder with --yahpo")
        return
    names = strategies(arguments)
    tasks = spread(Surrogate(arguments.yahpo).tasks, arguments.tasks)
    jobs = [Job(SAMPLE, task) for task in tasks] + list(planned(names, tasks, arguments))
    runs = Runs(arguments.save)
    complete(
        jobs,
        runs,
        arguments.yahpo,
        interpreter=lambda job: _interpreter(arguments, job.strategy) or Path(sys.executable),
        processes=arguments.jobs,
    )
    rows = compared(names, jobs, runs, arguments.noise)
    if rows:
        finish(rows, arguments.json)


if __name__ == "__main__":
    main()
