"""A simulated intersection, written in eTraM's layout: a dataset for whoever has none at hand."""

import errno
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pydantic import Field, model_validator

from data.config import Config
from data.errors import InputError, SpiketuneError
from data.events import Events, SensorSize
from data.manifest import Split
from data.simulator.bodies import body
from data.simulator.etram_writer import grouped, write_boxes, write_events
from data.simulator.event_camera import CameraConfig, EventCamera
from data.simulator.motion import plan
from data.simulator.scene import Actor, Scene
from data.simulator.street import paint_street

LABELS_HZ = 30  # as eTraM is annotated

Progress = Callable[[int, int, str], None]  # recordings done, recordings in all, name of the last


class TrafficConfig(Config):
    """The simulated dataset. Everything in the scene scales with the height; 1280x720 wants a higher `frame_rate`."""

    width: int = Field(320, ge=64, le=2048)  # px; the shards' packed x has 11 bits
    height: int = Field(180, ge=48, le=1024)  # px; the shards' packed y has 10 bits
    duration_s: float = Field(6.0, ge=0.1, le=600.0)  # of each recording
    train: int = Field(12, ge=0, le=999)  # recordings
    val: int = Field(4, ge=0, le=999)  # recordings
    test: int = Field(4, ge=0, le=999)  # recordings
    density: float = Field(5.0, ge=0.5, le=15.0)  # travellers on screen, on average
    night_share: float = Field(0.25, ge=0.0, le=1.0)  # of each split's recordings; 0.25 makes every fourth one night
    seed: int = Field(0, ge=0)  # of everything that is random
    # Rendered frames per second: at 300 the fastest car moves by 0.6 px a frame at 320x180.
    frame_rate: int = Field(300, ge=50, le=5000)
    camera: CameraConfig = CameraConfig()

    @model_validator(mode="after")
    def _has_recordings(self) -> "TrafficConfig":
        if self.train + self.val + self.test == 0:
            raise ValueError("train, val and test are all 0; ask for at least one recording")
        return self


@dataclass(frozen=True)
class Take:
    """One recording to make: the `number`-th of its split, counted from 1."""

    split: Split
    number: int
    night: bool

    @property
    def name(self) -> str:
        """As eTraM names its recordings."""
        return f"{self.split}_{'night' if self.night else 'day'}_{self.number:04d}"


def takes(config: TrafficConfig) -> list[Take]:
    """The recordings of a dataset; a recording's number and light do not depend on how many there are."""
    counts = {Split.TRAIN: config.train, Split.VAL: config.val, Split.TEST: config.test}
    share = config.night_share
    return [
        Take(split, number, int(number * share + 1e-9) > int((number - 1) * share + 1e-9))
        for split, count in counts.items()
        for number in range(1, count + 1)
    ]


def simulate(
    target: Path, config: TrafficConfig, progress: Progress | None = None, processes: int | None = None
) -> None:
    """Render the dataset below `target`, in parallel `processes` (default: one per core).

    Each recording depends on the seed, its split and its number alone.

    Raises:
        InputError: `target` holds recordings already, or cannot be written.
    """
    with _writing(target):
        _refuse_mixture(target)
        target.mkdir(parents=True, exist_ok=True)
    todo = takes(config)
    count = min(processes or os.cpu_count() or 1, len(todo))
    if count == 1:
        for done, take in enumerate(todo, 1):
            record(target, config, take)
            if progress is not None:
                progress(done, len(todo), take.name)
        return
    # Never fork: the parent may have used threads that a forked child would wait for.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, initializer=_become_worker) as pool:
        try:
            _follow({pool.submit(record, target, config, take): take for take in todo}, progress)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _become_worker() -> None:
    cv2.setNumThreads(1)  # one process per core already
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which lets running recordings end


def _follow(jobs: "dict[Future[None], Take]", progress: Progress | None) -> None:
    done, running = 0, set(jobs)
    while running:
        finished, running = wait(running, timeout=0.2, return_when=FIRST_EXCEPTION)
        for job in finished:
            try:
                job.result()
            except BrokenProcessPool:
                raise SpiketuneError(
                    "a simulating process was killed, most likely for want of memory; use fewer processes"
                ) from None
            done += 1
            if progress is not None:
                progress(done, len(jobs), jobs[job].name)


def record(target: Path, config: TrafficConfig, take: Take) -> None:
    """Render one recording: its events, and its boxes in both label sets.

    Raises:
        InputError: `target` cannot be written.
    """
    rng = np.random.default_rng([config.seed, list(Split).index(take.split), take.number])
    size = SensorSize(config.width, config.height)
    street = paint_street(size, take.night, rng)
    journeys = plan(config.density, config.duration_s, size.width / size.height, rng)
    actors = [
        Actor(body(journey.kind, take.night, size.height, rng), journey, track_id)
        for track_id, journey in enumerate(journeys, 1)
    ]
    scene = Scene(size, street, actors)
    folder = target / "HDF5" / f"{take.split}_h5_1"
    with _writing(target):
        write_events(folder / f"{take.name}_td.h5", size, exposures(scene, size, config, rng))
        rows = [scene.boxes(t_us) for t_us in label_times(config.duration_s)]
        boxes = np.concatenate(rows)
        eight = target / "HDF5" / f"eight_class_annotations_{take.split}"
        write_boxes(eight / f"{take.name}_bbox.npy", boxes)
        write_boxes(folder / f"{take.name}_bbox.npy", grouped(boxes))


def label_times(duration_s: float) -> list[int]:
    """µs of the labels: the multiples of 1/30 s after 0, rounded."""
    return [round(number * 1e6 / LABELS_HZ) for number in range(1, int(duration_s * LABELS_HZ + 1e-9) + 1)]


def exposures(scene: Scene, size: SensorSize, config: TrafficConfig, rng: np.random.Generator) -> Iterator[Events]:
    """What the camera reports, frame by frame."""
    camera = EventCamera(size, config.camera, rng, scene.render(0.0))
    start_us = 0
    for frame in range(1, round(config.duration_s * config.frame_rate) + 1):
        end_us = round(frame * 1e6 / config.frame_rate)
        yield camera.expose(scene.render(end_us * 1e-6), start_us, end_us)
        start_us = end_us


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = "free some space" if error.errno == errno.ENOSPC else "choose a folder you may write to"
        raise InputError(f"{target}: cannot write the recordings ({error.strerror or error}); {remedy}") from None


def _refuse_mixture(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise InputError(f"{target}: is a file; name a folder for the recordings")
    found = next((path for path in target.glob("HDF5/*/*") if path.name.endswith(("_td.h5", "_bbox.npy"))), None)
    if found is not None:
        raise InputError(
            f"{target}: holds recordings already (such as {found.relative_to(target)}); "
            "new ones would mix with them: choose another folder, or delete this one"
        )
