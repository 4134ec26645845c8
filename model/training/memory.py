"""What memory a trial may take, what a computation took, and the many ways of being told that there is none left."""

import ctypes
import gc
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from data.cache.machine_room import available_memory
from data.parallel import processors

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_FREE_SHARE = {"cuda": 0.9, "cpu": 0.8}  # the rest is for what is not measured: fragments, libraries, the evaluation
_SAMPLE_SECONDS = 0.002
_TOLD = (
    "can't allocate memory",  # torch on Linux
    "not enough memory",  # torch elsewhere
    "out of memory",  # CUDA's driver
    "_STATUS_ALLOC_FAILED",  # cuBLAS and cuDNN
    "could not create a memory object",  # oneDNN, which says no more than what it was about to do
    "could not execute a primitive",
    "std::bad_alloc",
)
# oneDNN's too, and the most frequent. Where it cannot create a "primitive descriptor", it does not have the operation.
_TOLD_ALONE = "could not create a primitive"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the host or the device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    told = str(error)
    return isinstance(error, RuntimeError) and (told == _TOLD_ALONE or any(text in told for text in _TOLD))


def trial_share_bytes(device: torch.device, threads: int | None = None) -> int:
    """What a trial may still take.

    Of a GPU, the share that torch was given; of a host's memory, that of its threads (torch's, unless told) among the
    processors, within the limit of this process.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return int(_FREE_SHARE["cuda"] * min(free, torch.cuda.get_per_process_memory_fraction(device) * total))
    share = min(1.0, (threads or torch.get_num_threads()) / processors())
    return int(_FREE_SHARE["cpu"] * min(share * available_memory(), _left_within_limit()))


@dataclass(slots=True)
class Peak:
    """The most that was held at once, above what was held before."""

    bytes: int = 0  # known at the end


@contextmanager
def measured_peak(device: torch.device) -> Iterator[Peak]:
    """Measure what the body takes: of a GPU what torch reserves, of the host the resident memory of this process."""
    peak = Peak()
    give_back(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_reserved(device)
        yield peak
        peak.bytes = torch.cuda.max_memory_reserved(device) - before
    elif _forget_highest():
        before = _status_bytes("VmRSS")
        yield peak
        peak.bytes = max(0, _status_bytes("VmHWM") - before)
    else:
        with _sampled(peak):
            yield peak


def give_back(device: torch.device) -> None:
    """Return to the device, or to the host's system, what is freed and still kept for later."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    else:
        with suppress(AttributeError):  # glibc's alone
            ctypes.CDLL(None).malloc_trim(0)


def _left_within_limit() -> float:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return torch.inf if limit == resource.RLIM_INFINITY else max(0, limit - _status_bytes("VmSize"))


def _status_bytes(name: str) -> int:
    fields = dict(line.split(":", 1) for line in _STATUS.read_text("utf-8").splitlines())
    return int(fields[name].split()[0]) * 1024


def _forget_highest() -> bool:
    """Have the kernel count VmHWM from now; some containers do not let a process write there."""
    try:
        _CLEAR.write_text("5", "utf-8")
    except OSError:
        return False
    return True


@contextmanager
def _sampled(peak: Peak) -> Iterator[None]:
    """Look again and again, where the kernel does not keep count."""
    before, over = _status_bytes("VmRSS"), threading.Event()

    def look() -> None:
        while True:
            peak.bytes = max(peak.bytes, _status_bytes("VmRSS") - before)
            if over.wait(_SAMPLE_SECONDS):
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
