"""The peers: what else turns events into frames, each with its events in the form it likes best."""

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.events import Events

T, H, W = 8, 360, 640  # frames [8, 2, 360, 640] of events at 1280x720
SCATTER = """
#include <stdint.h>
#include <string.h>
void scatter(const uint32_t *index, int64_t count, uint8_t *cells, int64_t size) {
    memset(cells, 0, size);
    for (int64_t i = 0; i < count; i++) cells[index[i]]++;
}
"""


def flat_index(events: Events, start_us: int, end_us: int) -> npt.NDArray[np.int64]:
    """Each event's place among the frames' cells."""
    bins = (events.t - start_us) * T // (end_us - start_us)
    return ((bins * 2 + events.p) * H + events.y // 2) * W + events.x // 2


def bincount(events: Events, start_us: int, end_us: int) -> npt.NDArray[np.uint8]:
    """The same frames by np.bincount."""
    counts = np.bincount(flat_index(events, start_us, end_us), minlength=T * 2 * H * W)
    return np.minimum(counts, 255).astype(np.uint8).reshape(T, 2, H, W)


def tonic(events: Events, start_us: int, end_us: int) -> Callable[[], Any]:
    """tonic's to_frame, on events already scaled to the frame."""
    from tonic.functional import to_frame_numpy

    table = np.zeros(len(events), [("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "i2")])
    for name, values in (("x", events.x // 2), ("y", events.y // 2), ("t", events.t), ("p", events.p)):
        table[name] = values
    return lambda: to_frame_numpy(table, sensor_size=(W, H, 2), n_time_bins=T)


def evlib(events: Events, start_us: int, end_us: int) -> Callable[[], Any]:
    """evlib's dense histogram in Rust, one window of T bins."""
    # evlib's models import torchvision, which does not load beside every build of PyTorch; the histogram needs none.
    sys.modules.setdefault("torchvision", None)  # type: ignore[arg-type]
    import evlib

    t, x, y, p = (column.astype(np.int64) for column in (events.t, events.x, events.y, events.p))
    grid = np.array([end_us], np.int64)
    rows, columns = (np.arange(2 * side, dtype=np.int64) // 2 for side in (H, W))
    dense = evlib.representations_rs.stacked_histogram_dense
    return lambda: dense(t, x, y, p, grid, end_us - start_us, T, 255, rows, columns, H, W)


def scatter(events: Events, start_us: int, end_us: int, folder: Path) -> Callable[[], Any] | None:
    """A loop in C that only counts, its index computed beforehand; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    source, library = folder / "scatter.c", folder / "scatter.so"
    source.write_text(SCATTER, encoding="utf-8")
    subprocess.run([compiler, "-O3", "-march=native", "-shared", "-fPIC", source, "-o", library], check=True)
    function = ctypes.CDLL(str(library)).scatter
    function.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64]
    index = flat_index(events, start_us, end_us).astype(np.uint32)
    cells = np.zeros(T * 2 * H * W, np.uint8)
    return lambda: function(index.ctypes.data, len(index), cells.ctypes.data, cells.size)
