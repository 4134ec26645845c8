"""Whole trainings that take turns: images a second, what each part of the speed brings, waiting, memory, neighbours."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from benchmarks.living_trial import LivingTrial, Training, epoch_of, living, rounds_of
from benchmarks.stopwatch import Epoch, seconds_a_window, waiting_share
from benchmarks.table import Row, console, limit, row

STEPS_T = 4  # images a window
BATCH, MEMORY_BATCH = 4, 8
STEPS_AN_EPOCH = 10
CACHED: dict[str, object] = {"data.cache.mode": "disk"}  # in a folder of ours, which lies in memory where it can
PLAIN, INNERMOST = "plain SpikingJelly, gzip HDF5", "the same, channels innermost"
EAGER, COMPILED, HALF, KEPT = "our loader, eager fp32", "+ compiled neurons", "+ bf16", "+ cache"
SINGLE = "our trainer in fp32, all else on"


def settings(
    precision: str, compiled: str = "neurons", cached: bool = True, batch: int = BATCH, scale: float = 1.0
) -> dict[str, object]:
    """Leaves of a training whose epochs are short."""
    return {
        **(CACHED if cached else {"data.cache.mode": "off"}),
        "data.time_steps": STEPS_T,
        "data.scale": scale,
        "training.precision": precision,
        "training.compile": compiled,
        "training.batch_size": batch,
        "training.windows_per_epoch": STEPS_AN_EPOCH * batch,
    }


def measure(recordings: Path, dataset: Path, windows: int, rounds: int) -> list[Row]:
    """Rows of trainings on one thread, on simulated traffic; `windows` are an epoch's of the whole dataset."""
    with living(
        {
            PLAIN: Training(dataset, settings("fp32"), recordings=recordings),
            INNERMOST: Training(dataset, settings("fp32"), recordings=recordings, channels_innermost=True),
            EAGER: Training(dataset, settings("fp32", "off", cached=False)),
            COMPILED: Training(dataset, settings("fp32", cached=False)),
            HALF: Training(dataset, settings("bf16", cached=False)),
            KEPT: Training(dataset, settings("bf16")),
            SINGLE: Training(dataset, settings("fp32")),
        }
    ) as trials:
        epochs = rounds_of(trials, rounds)
    for name, taken in epochs.items():
        _tell(name, taken)
    rate = {name: STEPS_T / seconds_a_window(taken) for name, taken in epochs.items()}
    figure = "images/s, 1 thread,"
    return [
        row(f"{figure} bf16, against {PLAIN}", rate[KEPT], rate[PLAIN], 3),
        told(f"{figure} fp32, against {PLAIN}", rate[SINGLE], rate[PLAIN]),
        told(f"{figure} bf16, against {INNERMOST}", rate[KEPT], rate[INNERMOST]),
        limit("share of a bf16 step spent waiting for data, cache warm", waiting_share(epochs[KEPT]), 0.03),
        limit("share of an fp32 step spent waiting for data, cache warm", waiting_share(epochs[SINGLE]), 0.03),
        *_ladder({name: windows * seconds_a_window(taken) for name, taken in epochs.items()}, windows),
    ]


def measure_dense(recordings: Path, dataset: Path, rounds: int) -> list[Row]:
    """The first row where there are as many events as in eTraM, rendered at a quarter of the sensor's size."""
    with living(
        {
            PLAIN: Training(dataset, settings("fp32", scale=0.25), recordings=recordings),
            KEPT: Training(dataset, settings("bf16", scale=0.25)),
        }
    ) as trials:
        epochs = rounds_of(trials, rounds)
    for name, taken in epochs.items():
        _tell(f"eTraM's density, {name}", taken)
    rate = {name: STEPS_T / seconds_a_window(taken) for name, taken in epochs.items()}
    return [
        told(f"images/s at eTraM's density, 1 thread, bf16, against {PLAIN}", rate[KEPT], rate[PLAIN]),
        limit("share of a bf16 step spent waiting for data at eTraM's density", waiting_share(epochs[KEPT]), 0.03),
    ]


def measure_neighbours(dataset: Path, windows: int, rounds: int) -> list[Row]:
    """Two trials of one thread beside each other, against one of two threads, and against one alone."""
    one, other, wide = "a", "b", "two threads"
    training = Training(dataset, settings("bf16"))
    alone, together, on_two = list[Epoch](), list[Epoch](), list[Epoch]()
    with living({one: training, other: training, wide: Training(dataset, settings("bf16"), threads=2)}) as trials:
        for _ in range(rounds):
            alone.append(epoch_of(trials[one]))
            together.append(_beside(trials[one], trials[other]))
            on_two += [epoch_of(trials[wide]), epoch_of(trials[wide])]  # as many windows as the two take together
    for name, taken in (("one alone", alone), ("two side by side", together), ("one of two threads", on_two)):
        _tell(name, taken)
    rate = {
        name: STEPS_T / seconds_a_window(taken)
        for name, taken in (("alone", alone), ("together", together), ("wide", on_two))
    }
    figure = f"s an epoch of {windows} windows: + two trials side by side, each its share, against one alone"
    return [
        row("images/s of two 1-thread trials together, against one 2-thread trial", rate["together"], rate["wide"],
            1.15),
        told(figure, windows * seconds_a_window(together), windows * seconds_a_window(alone), smaller_is_better=True),
    ]  # fmt: skip


def measure_memory(dataset: Path) -> list[Row]:
    """Resident memory of a search's worker, evaluation and checkpoints included."""
    rows = []
    for precision in ("fp32", "bf16"):
        training = Training(dataset, settings(precision, batch=MEMORY_BATCH), validation_windows=60)
        with living({precision: training}) as trials:
            peak = rounds_of(trials, 2)[precision][-1].peak_bytes
        figure = f"peak memory of a trial, nano at 320x180, 4 steps, {MEMORY_BATCH} windows a batch, {precision}, GiB"
        rows.append(limit(figure, peak / 2**30, 1.5))
    return rows


def told(figure: str, ours: float, peer: float, *, smaller_is_better: bool = False) -> Row:
    """A figure of which nothing is asked."""
    return {**row(figure, ours, peer, 0, smaller_is_better=smaller_is_better), "must": "told", "holds": "-"}


def _beside(one: LivingTrial, other: LivingTrial) -> Epoch:
    """An epoch of both at the same time, as if it were one: from the first start to the last end."""
    one.begin()
    other.begin()
    first, second = one.finish(), other.finish()
    return Epoch(
        start=min(first.start, second.start),
        end=max(first.end, second.end),
        windows=first.windows + second.windows,
        waiting=first.waiting + second.waiting,
        peak_bytes=max(first.peak_bytes, second.peak_bytes),
    )


def _ladder(seconds: dict[str, float], windows: int) -> list[Row]:
    rungs = [PLAIN, EAGER, COMPILED, HALF, KEPT]
    return [
        told(f"s an epoch of {windows} windows: {name}, against the step before", seconds[name], seconds[before],
             smaller_is_better=True)
        for before, name in itertools.pairwise(rungs)
    ]  # fmt: skip


def _tell(name: str, epochs: Sequence[Epoch]) -> None:
    console.print(
        f"  {name}: {1e3 * BATCH * seconds_a_window(epochs):.0f} ms for {BATCH} windows, "
        f"{100 * waiting_share(epochs):.1f} % of it waiting for them"
    )
