"""A worker's process, which lives on from trial to trial: its threads, and what a trial leaves behind in it."""

import contextlib
import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

END_SECONDS = 120  # that a stopped trial may take to close its loader; Ray waits 2, and then fails the trial after it


@contextmanager
def lent_worker(threads: int) -> Iterator[None]:
    """Lend this process to one trial, on so many threads; its memory is free again before the next one starts.

    Torch and the kernels it compiles take the threads from here, BLAS from what Ray puts into OMP_NUM_THREADS; the
    kernels of numba have one each.
    """
    torch.set_num_threads(threads)
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = str(END_SECONDS)
    # Half a million objects of imported modules are here to stay; to look at them again would cost every trial 0.3 s.
    # The first trial brings the compiler's.
    is_first = not gc.get_freeze_count()
    if is_first:
        gc.freeze()
    try:
        yield
    finally:
        _give_back()
        if is_first:
            gc.freeze()


def _give_back() -> None:
    """Free what the trial that has just ended left behind."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    # Each trial runs in a thread of its own, and glibc has an arena for each, which would keep what it once was given.
    with contextlib.suppress(AttributeError):  # another libc
        ctypes.CDLL(None).malloc_trim(0)
