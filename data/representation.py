"""Representations: events of a window become frames, one for each time step."""

from enum import StrEnum

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from data.config import Config
from data.packing import PackedSlice
from data.pixel_tables import PixelTables, pixel_tables
from data.scatter import add_counts, add_differences, stack_counts
from data.surfaces import decay_table, draw_surfaces
from data.time_rows import step_rows

Frames = npt.NDArray[np.uint8]  # [T, C, H, W]
POLARITIES = 2  # channel 0 is OFF (p = 0), channel 1 is ON: SpikingJelly's order
_SATURATED = 255  # the most a cell of a frame holds


class RepresentationName(StrEnum):
    """What the pixels of a frame say about a time step."""

    HISTO3D = "histo3d"  # events of each polarity, counted
    DIFF3D = "diff3d"  # ON events minus OFF events, signed
    STACKED_HISTOGRAM = "stacked_histogram"  # events of each polarity, counted in bins of the step (RVT, CVPR 2023)
    TIME_SURFACE = "time_surface"  # how lately each polarity's last event was (HOTS, Lagorce et al. 2017)


_READ_BY = {
    "bins": RepresentationName.STACKED_HISTOGRAM,
    "count_cutoff": RepresentationName.STACKED_HISTOGRAM,
    "tau_us": RepresentationName.TIME_SURFACE,
}


class RepresentationConfig(Config):
    """How events become frames."""

    name: RepresentationName = RepresentationName.HISTO3D
    bins: int = Field(10, ge=1, le=64)  # of a time step, for each polarity (RVT: 10); stacked_histogram only
    count_cutoff: int = Field(10, ge=1, le=_SATURATED)  # events a cell counts at most (RVT: 10); stacked_histogram only
    # µs in which a surface falls to 1/e: the default window, whose first events then still show; time_surface only.
    tau_us: int = Field(50_000, ge=100, le=10_000_000)

    @model_validator(mode="after")
    def _reads_what_is_set(self) -> "RepresentationConfig":
        for setting, reader in _READ_BY.items():
            value, default = getattr(self, setting), type(self).model_fields[setting].default
            if self.name is not reader and value != default:
                raise ValueError(
                    f"{setting}={value} is not read by {self.name.value}; leave it out, or set name={reader.value}"
                )
        return self

    @property
    def channels(self) -> int:
        """C of a frame: OFF before ON, and within a polarity the earlier bin before the later."""
        match self.name:
            case RepresentationName.DIFF3D:
                return 1
            case RepresentationName.STACKED_HISTOGRAM:
                return POLARITIES * self.bins
            case _:
                return POLARITIES

    @property
    def signed(self) -> bool:
        """Whether the bytes of a frame are int8, in two's complement."""
        return self.name is RepresentationName.DIFF3D


def render(
    config: RepresentationConfig,
    events: PackedSlice,
    start_us: int,
    end_us: int,
    scale: float,
    frames_TCHW: Frames,
    max_events: int | None = None,
) -> Frames:
    """Draw the events of [start_us, end_us) into the frame of each of T equal time steps.

    An event at t belongs to step floor((t - start) * T / (end - start)), and its sensor pixel to output pixel
    floor(x * scale), floor(y * scale): the frame is rendered at the size it is used at, since rendering at full size
    and shrinking by nearest loses cells. Events beyond the frame are left out, whatever the words hold.

    Args:
        config: which representation. By name:
            histo3d: events of each polarity, saturating at 255.
            diff3d: ON minus OFF events as int8, viewed as uint8, saturating at -127 and 127.
            stacked_histogram: channel p * bins + b counts bin b of polarity p, cut at `count_cutoff`, as RVT's
                StackedHistogram of each step's events does with fastmode off (with it, counts wrap at 256). The bins
                lie between the step's first and last event, in float32 as torch divides.
            time_surface: round(255 * exp(-(e - t) / tau)) where t is the polarity's latest event in the window up to
                the step's last microsecond e; 0 where there is none.
        events: packed words in time order that cover the window; those outside it are passed over.
        start_us: first microsecond of the window.
        end_us: the microsecond after the window.
        scale: output pixels a sensor pixel, at most 1.
        frames_TCHW: [T, C, H, W] in C order, overwritten; rows and columns beyond the scaled sensor stay 0.
        max_events: only so many are drawn, the latest, since the labels are those of the window's end and what comes
            last tells most about them; a live camera short of time would drop the oldest as well.

    Raises:
        ConfigError: a frame has more than 2**30 cells.
    """
    T, C, H, W = frames_TCHW.shape
    assert config.channels == C, f"{config.name.value} has {config.channels} channels, the frames have {C}"
    assert frames_TCHW.flags.c_contiguous, "frames are drawn through a flat view, which only C order allows"
    on_plane = 0 if config.signed else C // POLARITIES
    tables = pixel_tables(events.words.dtype, scale, on_plane, C, H, W)
    since_us = start_us - events.first_ms * 1000
    rows = step_rows(events.words, events.offsets, since_us, end_us - start_us, T, tables)
    if max_events is not None:
        rows = np.maximum(rows, rows[-1] - max_events)
    _draw(config, events, rows, since_us, end_us - start_us, tables, frames_TCHW.reshape(T, -1))
    return frames_TCHW


def _draw(
    config: RepresentationConfig,
    events: PackedSlice,
    rows: npt.NDArray[np.int64],
    since_us: int,
    span_us: int,
    tables: PixelTables,
    flat_TN: npt.NDArray[np.uint8],
) -> None:
    words, offsets = events.words, events.offsets
    match config.name:
        case RepresentationName.HISTO3D:
            add_counts(words, rows, tables, np.uint8(_SATURATED), flat_TN)
        case RepresentationName.DIFF3D:
            add_differences(words, rows, tables, flat_TN.view(np.int8))
        case RepresentationName.STACKED_HISTOGRAM:
            stack_counts(words, offsets, rows, tables, config.bins, np.uint8(config.count_cutoff), flat_TN)
        case RepresentationName.TIME_SURFACE:
            decay = decay_table(config.tau_us, span_us)
            draw_surfaces(words, offsets, since_us, span_us, rows, tables, decay, flat_TN)
