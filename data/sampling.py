"""Sampling: which windows an epoch of training shows, in which order, and what each is to look like."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from data.errors import DatasetError
from data.shards import Shard
from data.step_labels import TrackIndex
from data.windows import Sampling, Window, WindowConfig, buffered_window, chosen_windows, label_windows, stride_windows

_CHOICE, _WINDOWS, _LOOKS, _ROWS = range(4)  # streams of randomness, apart so that one's length does not move another's


class Order(StrEnum):
    """The order of training windows."""

    RANDOM = "random"  # every window by itself, from rest
    STREAMING = "streaming"  # each row of a batch follows a recording, and the membranes go on (RVT)
    MIXED = "mixed"  # half of the rows streams, the other half is random (RVT)


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a batch."""

    window: Window
    continues: bool  # whether it goes on from the same row of the batch before
    look: tuple[int, ...]  # seed of its augmentation: the same along a streamed recording
    others: tuple[Window, ...] = ()  # windows a mosaic may be made with


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """What one batch is made of, before anything is rendered; it is all a worker needs to know."""

    samples: tuple[Sample, ...]
    look: tuple[int, ...]  # seed of what the whole batch shares: its size
    mosaic: bool  # whether this epoch still makes mosaics


def tolerance_us(config: WindowConfig) -> int:
    """How far in µs a label may lie from a step it teaches: as far as the window is long, and the buffer on top.

    In training only: at evaluation a window ends with its label.
    """
    return config.window_us + int(config.temporal_buffer * config.window_us)


def training_windows(
    shards: Sequence[Shard], config: WindowConfig, every: bool, seed: int, recordings: Sequence[int] | None = None
) -> list[Window]:
    """The windows of each recording that training may show, in order.

    Args:
        shards: the recordings of the split.
        config: how windows are laid, and how many a recording may give.
        every: also windows about which no label says anything, as a stream passes over them.
        seed: of the draw where a recording has more windows than it may give.
        recordings: which of them are used; None: all.

    Raises:
        DatasetError: no recording has a label.
    """
    windows: list[Window] = []
    labelled_any = False
    for recording in range(len(shards)) if recordings is None else recordings:
        shard = shards[recording]
        if config.sampling is Sampling.LABELS:
            found = label_windows(recording, shard.boxes.times(), config)
        else:
            found = stride_windows(recording, shard.first_us, shard.last_us, config)
        kept, labelled = _kept(found, shard, config, every, np.random.default_rng((seed, _CHOICE, recording)))
        windows += kept
        labelled_any |= labelled
    if not labelled_any:
        raise DatasetError("the training split has no labels; ingest recordings with boxes beside them")
    return windows


def _kept(
    windows: list[Window], shard: Shard, config: WindowConfig, every: bool, random: np.random.Generator
) -> tuple[list[Window], bool]:
    """The windows of one recording that are shown, and whether any of them has a label."""
    if config.sampling is Sampling.LABELS and config.max_windows_per_recording is None:
        return windows, bool(windows)  # each is of a label
    times = np.array([window.label_us for window in windows], np.int64)
    labels = TrackIndex(shard.boxes).at(times, config.label_gap_us, tolerance_us(config))
    if not every:
        windows = list(itertools.compress(windows, labels.labelled))
    if every or config.max_windows_per_recording is None:
        return windows, bool(labels.labelled.any())
    place = np.cumsum(labels.labelled) - 1  # of a time among the labelled ones
    classes: list[list[int]] = [[] for _ in windows]
    for step, class_id in zip(labels.step, labels.boxes.class_id, strict=True):
        if labels.labelled[step]:
            classes[place[step]].append(int(class_id))
    annotated = np.array([bool(held) for held in classes], bool)
    chosen = chosen_windows(
        windows, annotated, [np.array(held, np.int64) for held in classes], config.max_windows_per_recording, random
    )
    return [windows[row] for row in chosen], bool(labels.labelled.any())


class TrainingPlan:
    """The batches of every epoch, known before anything is rendered.

    A last batch that is not full is left out, since a norm over few windows is noise.
    """

    def __init__(
        self,
        windows: Sequence[Window],
        config: WindowConfig,
        order: Order,
        batch_size: int,
        most: int | None,
        seed: int,
    ) -> None:
        self._windows = windows
        self._config = config
        count = min(most or len(windows), len(windows))
        self.batch_size = min(batch_size, count)
        self._batches = count // self.batch_size
        self._streamed = {Order.RANDOM: 0, Order.STREAMING: self.batch_size, Order.MIXED: self.batch_size // 2}[order]
        self._seed = seed

    def __len__(self) -> int:
        """Batches an epoch."""
        return self._batches

    def epoch(self, number: int, mosaic: bool = False) -> Iterator[BatchPlan]:
        """The plans of one epoch; the same number gives the same plans."""
        tape = self._tape(number) if self._streamed else []
        streams = [self._stream(tape, number, row) for row in range(self._streamed)]
        drawn = self._random_rows(number, self.batch_size - self._streamed)
        for batch in range(len(self)):
            streamed = [next(stream) for stream in streams]
            samples = (*streamed, *itertools.islice(drawn, self.batch_size - len(streamed)))
            yield BatchPlan(samples, (self._seed, number, _ROWS, batch), mosaic)

    def _random_rows(self, epoch: int, rows: int) -> Iterator[Sample]:
        random = np.random.default_rng((self._seed, epoch, _WINDOWS))
        drawn = random.permutation(len(self._windows))[: len(self) * rows]
        for place, row in enumerate(drawn):
            others = tuple(self._moved(int(other), random) for other in random.integers(0, len(self._windows), 3))
            look = (self._seed, epoch, _LOOKS, place)
            yield Sample(self._moved(int(row), random), False, look, others)

    def _moved(self, row: int, random: np.random.Generator) -> Window:
        window = self._windows[row]
        if self._config.sampling is Sampling.STRIDE:
            return window  # its place is fixed; the buffer only widens which labels it answers for
        return buffered_window(
            window.recording, window.label_us, self._config.window_us, self._config.temporal_buffer, random
        )

    def _tape(self, epoch: int) -> list[Window]:
        """The windows of all recordings laid end to end, in an order of recordings drawn anew in every epoch."""
        random = np.random.default_rng((self._seed, epoch, _WINDOWS))
        recordings = [list(group) for _, group in itertools.groupby(self._windows, lambda window: window.recording)]
        return [window for place in random.permutation(len(recordings)) for window in recordings[place]]

    def _stream(self, tape: Sequence[Window], epoch: int, row: int) -> Iterator[Sample]:
        """A row's own stretch of the tape."""
        first = row * len(tape) // self._streamed
        before: Window | None = None
        for window in itertools.islice(itertools.cycle(tape), first, first + len(self)):
            continues = (
                before is not None and before.recording == window.recording and before.start_us < window.start_us
            )
            before = window
            yield Sample(window, continues, (self._seed, epoch, _ROWS, row, window.recording))
