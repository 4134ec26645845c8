"""How well the nano detector finds and follows objects, against peers trained in the same run on the same batches.

    pip install -e '.[benchmarks]' && pip install --no-deps ultralytics ultralytics-thop
    python benchmarks/detector.py [--quick] [--seeds 3] [--minutes 7] [--epochs 12] [--json FILE]

Twelve recordings of simulated traffic of 6 s at 320x180 teach, four unseen ones are measured, every label time of them.
The figures: mAP against the same net with ReLU for neurons, same epochs; mAP against Ultralytics YOLOv8n from scratch,
same minutes and same epochs, by its trainer's own recipe and by one that suits short trainings better (a step for each
batch, as ours); the energy of a frame against the ReLU twin; HOTA with track embeddings against without, on the same
detections; spike-driven inference against integer inference.
Minutes are processor minutes of training alone, on one thread; two trainings run side by side. Figures are means over
the seeds, `spread` is the standard deviation of what `ratio` says from seed to seed. `--quick` takes one seed and as
many epochs as fit into 40 minutes on two cores, at most 8.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

# Beside this file lie some that share their names with packages: its folder must not be searched first.
sys.path[0] = str(Path(__file__).parent.parent)

from benchmarks.detector_merits import Merits
from benchmarks.detector_runs import RECIPES, Job, Net, Outcome, outcomes, windows_a_second
from benchmarks.table import Row, console, finish
from data.dataset import Dataset
from data.ingest.ingest import IngestOptions, ingest
from data.manifest import Split
from data.simulator.traffic import TrafficConfig, simulate

BATCH = 4  # windows a step
SHORT_EPOCHS = 4  # of the trainings of equal minutes
QUICK_MINUTES, QUICK_EPOCHS = 5.0, 8
QUICK_WALL_MINUTES = 30.0  # for the trainings; making the data and measuring take the rest of 40


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is trained."""

    seeds: int
    minutes: float  # of the trainings of equal minutes
    epochs: int  # of the trainings of equal epochs
    quick: bool


def measure(plan: Plan) -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        console.print("simulating 16 recordings of 6 s ...")
        simulate(folder / "recordings", TrafficConfig(train=12, val=4, test=0))
        ingest(folder / "recordings", folder / "dataset", IngestOptions(labels="etram8"))
        done: list[Outcome] = []
        for outcome in outcomes(_jobs(plan, folder / "dataset")):
            _tell(outcome)
            done.append(outcome)
    return _rows(done)


def _jobs(plan: Plan, dataset: Path) -> list[Job]:
    """The trainings, the longest first."""
    speeds = windows_a_second([Job(net, dataset, seed=0, epochs=1) for net in (Net.ILIF, Net.YOLOV8N)])
    console.print(*(f"{net}: {speed:.1f} windows a processor second;" for net, speed in speeds.items()))
    windows = sum(len(shard.boxes.times()) for shard in Dataset.open(dataset).shards(Split.TRAIN))
    epochs = plan.epochs
    if plan.quick:
        seconds = windows * (2 / speeds[Net.ILIF] + 2 / speeds[Net.YOLOV8N])  # of an epoch of all four trainings
        left = 60 * (2 * QUICK_WALL_MINUTES - 3 * plan.minutes)  # on two cores, beside the three of equal minutes
        epochs = max(1, min(epochs, int(left / seconds)))
    console.print(f"{windows} windows an epoch, {epochs} epochs, {plan.seeds} seeds")

    def short(net: Net) -> int:
        speed = speeds[Net.YOLOV8N if net.is_peer else net]
        return int(plan.minutes * 60 * speed / SHORT_EPOCHS) // BATCH * BATCH

    return [
        *(Job(Net.ILIF, dataset, seed, epochs, has_merits=True) for seed in range(plan.seeds)),
        *(Job(net, dataset, seed, epochs) for net in (Net.RELU, *RECIPES) for seed in range(plan.seeds)),
        *(
            Job(net, dataset, seed, SHORT_EPOCHS, short(net))
            for net in (Net.ILIF, *RECIPES)
            for seed in range(plan.seeds)
        ),
    ]


def _tell(outcome: Outcome) -> None:
    job = outcome.job
    console.print(
        f"  {job.net}, seed {job.seed}, {outcome.windows} windows in {job.epochs} epochs: mAP {outcome.map:.3f}, "
        f"mAP50 {outcome.map50:.3f} after {outcome.cpu_seconds / 60:.1f} processor minutes"
    )


def _rows(done: Sequence[Outcome]) -> list[Row]:
    def of(net: Net, short: bool = False) -> list[Outcome]:
        chosen = [each for each in done if each.job.net is net and (each.job.windows_per_epoch is not None) == short]
        return sorted(chosen, key=lambda each: each.job.seed)

    ilif, relu, ilif_short = of(Net.ILIF), of(Net.RELU), of(Net.ILIF, short=True)
    epochs = f"{ilif[0].job.epochs} epochs"
    found = [each.merits for each in ilif if each.merits is not None]
    rows = [
        _precision(f"mAP of I-LIF nano, {epochs}, against its ReLU twin", ilif, relu, 0.98),
        _precision(f"mAP50 of I-LIF nano, {epochs}, against its ReLU twin", ilif, relu, 0.98, lambda each: each.map50),
    ]
    for net in RECIPES:
        peer = of(net, short=True)
        figure = f"mAP of I-LIF nano in {_minutes(ilif_short)}, against {net} in {_minutes(peer)}"
        rows.append(_precision(figure, ilif_short, peer, 1.3))
        rows.append(_precision(f"mAP of I-LIF nano, {epochs}, against {net}", ilif, of(net), 1.0))
    return [*rows, _energy(found), _tracking(found), _unrolled(found)]


def _minutes(runs: Sequence[Outcome]) -> str:
    return f"{statistics.mean(each.cpu_seconds for each in runs) / 60:.1f} min"


def _precision(
    figure: str,
    ours: Sequence[Outcome],
    peers: Sequence[Outcome],
    least: float,
    value: Callable[[Outcome], float] = lambda outcome: outcome.map,
) -> Row:
    one, other = [value(each) for each in ours], [value(each) for each in peers]
    ratio = _ratio(statistics.mean(one), statistics.mean(other))
    each_ratio = [_ratio(*pair) for pair in zip(one, other, strict=True)]
    return _row(figure, one, other, ratio, _spread(each_ratio), f">= {least:g}", ratio >= least)


def _energy(found: Sequence[Merits]) -> Row:
    ours, twin = [each.energy_pj / 1e6 for each in found], [each.twin_energy_pj / 1e6 for each in found]
    ratio = statistics.mean(ours) / statistics.mean(twin)
    spread = _spread([one / other for one, other in zip(ours, twin, strict=True)])
    figure = "energy of a frame, µJ, against the ReLU twin"
    return _row(figure, ours, twin, ratio, spread, "<= 0.25", ratio <= 0.25)


def _tracking(found: Sequence[Merits]) -> Row:
    """Here `ratio` is the gain, and `spread` that of the gain: it must be larger than its spread."""
    ours, without = [each.hota for each in found], [each.hota_without for each in found]
    gains = [one - other for one, other in zip(ours, without, strict=True)]
    gain, spread = statistics.mean(gains), _spread(gains)
    figure = "HOTA with embeddings, against without (ratio: the difference)"
    least = spread if isinstance(spread, float) else 0.0
    return _row(figure, ours, without, gain, spread, "> its spread", gain > least)


def _unrolled(found: Sequence[Merits]) -> Row:
    """Here `peer` is what may be, and the worst seed counts."""
    worst, most = max(each.unrolled_difference for each in found), 1e-5
    figure = "spike-driven against integer inference, largest difference of boxes and scores"
    return _row(figure, [worst], [most], worst / most, "the worst", f"<= {most:g}", worst <= most)


def _row(
    figure: str,
    ours: Sequence[float],
    peer: Sequence[float],
    ratio: float,
    spread: float | str,
    must: str,
    holds: bool,
) -> Row:
    return {
        "figure": figure,
        "ours": statistics.mean(ours),
        "peer": statistics.mean(peer),
        "ratio": ratio,
        "spread": spread,
        "must": must,
        "holds": holds,
    }


def _ratio(ours: float, peer: float) -> float:
    return ours / peer if peer else float("inf")


def _spread(values: Sequence[float]) -> float | str:
    return statistics.stdev(values) if len(values) > 1 else "one seed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    plan = Plan(
        seeds=arguments.seeds or (1 if arguments.quick else 3),
        minutes=arguments.minutes or (QUICK_MINUTES if arguments.quick else 7.0),
        epochs=arguments.epochs or (QUICK_EPOCHS if arguments.quick else 12),
        quick=arguments.quick,
    )
    finish(measure(plan), arguments.json)


if __name__ == "__main__":
    main()
