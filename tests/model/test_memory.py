import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from data.cache.machine_room import available_memory
from data.parallel import processors
from model.training import memory
from model.training.memory import give_back, is_out_of_memory, measured_peak, trial_share_bytes

CPU = torch.device("cpu")
MIB = 1 << 20


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."),
        RuntimeError("could not create a primitive"),
        RuntimeError("could not create a memory object"),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
    ],
)
def test_what_says_that_memory_ran_out_is_recognised(error: BaseException) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("could not create a primitive descriptor for a convolution forward propagation primitive"),
        ValueError("out of memory"),
        OSError("No space left on device"),
    ],
)
def test_another_error_is_none_of_memory(error: BaseException) -> None:
    assert not is_out_of_memory(error)


# Each attempt in a process of its own, forked where everything is loaded, with so many MiB left of its address space.
STARVING = """
import os, resource, sys
import numpy as np, torch
from model.training.memory import _status_bytes, is_out_of_memory
torch.set_num_threads(1)
layers = [torch.nn.Conv2d(16, 16, 3, padding=1), torch.nn.BatchNorm2d(16), torch.nn.ReLU()]
net = torch.nn.Sequential(*layers, *layers).to(memory_format=torch.channels_last)
def step(rows):
    net(torch.rand(rows, 16, 64, 64)).square().mean().backward()
attempts = [(f"step {left}", lambda: step(64), left) for left in range(2, 80, 6)]
attempts += [("numpy", lambda: np.ones(64 << 20, np.uint8), 32), ("python", lambda: bytearray(64 << 20), 32)]
step(1)
for name, attempt, left in attempts:
    sys.stdout.flush()
    if os.fork() == 0:
        limit = _status_bytes("VmSize") + (left << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            attempt()
        except BaseException as error:
            print(name, is_out_of_memory(error), type(error).__name__, str(error)[:100], flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, name
"""


def test_every_error_met_under_a_limit_of_memory_is_recognised() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARVING], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if " True " not in line] == []
    assert len(lines) > 10
    assert {"numpy", "python"} <= {line.split()[0] for line in lines}


def held_peak(mib: int) -> float:
    """The measured MiB of an array of so many, while as much is held from before."""
    held = np.ones(mib * MIB, np.uint8)
    with measured_peak(CPU) as peak:
        taken = np.ones(mib * MIB, np.uint8)
        time.sleep(0.1)  # that the one who looks again and again has seen it, also where processors are busy
        del taken
    assert held.any()
    return peak.bytes / MIB


@pytest.mark.parametrize("counted", [True, False])
def test_a_peak_is_what_was_held_above_what_was_held_before(counted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not counted:  # by the kernel; then it is looked at again and again
        monkeypatch.setattr(memory, "_CLEAR", Path("/proc/self/none/clear_refs"))
    assert held_peak(64) == pytest.approx(64, abs=8)


def test_an_earlier_and_higher_peak_is_forgotten() -> None:
    np.ones(128 * MIB, np.uint8)
    with measured_peak(CPU) as peak:
        np.ones(48 * MIB, np.uint8)  # more than malloc ever takes from what was freed before
    assert peak.bytes / MIB == pytest.approx(48, abs=8)


def test_what_is_freed_is_given_back_to_the_system() -> None:
    pieces = [np.ones(64 << 10, np.uint8) for _ in range(512)]  # 32 MiB, small enough to stay with the allocator
    fence = np.ones(64 << 10, np.uint8)
    before = memory._status_bytes("VmRSS")
    del pieces
    give_back(CPU)
    assert (before - memory._status_bytes("VmRSS")) / MIB > 24
    assert fence.any()


def test_a_trial_takes_the_share_of_memory_that_its_threads_are_of_the_processors() -> None:
    one, all_of_them = trial_share_bytes(CPU, 1), trial_share_bytes(CPU, processors())
    assert all_of_them == pytest.approx(0.8 * available_memory(), rel=0.05)
    assert one == pytest.approx(all_of_them / processors(), rel=0.05)
    assert trial_share_bytes(CPU, 10 * processors()) == pytest.approx(all_of_them, rel=0.05)


def test_a_trial_stays_within_the_limit_of_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    held = memory._status_bytes("VmSize")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (held + 100 * MIB, held + 100 * MIB))
    assert trial_share_bytes(CPU) / MIB == pytest.approx(80, abs=8)


def test_a_trial_takes_its_fraction_of_a_gpu_and_no_more_than_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (6000, 8000))
    for fraction, expected in ((0.5, 3600), (1.0, 5400)):  # .9 of 4000, and .9 of the 6000 that are free
        monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda _, share=fraction: share)
        assert trial_share_bytes(torch.device("cuda")) == expected
