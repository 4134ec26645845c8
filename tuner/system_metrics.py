"""What a trial's process takes of its machine: processor, memory, and the GPU where there is one."""

from importlib.util import find_spec

import psutil
import torch

_MIB = 2**20


class SystemMeter:
    """Measures this process; make one when a trial starts, for its first sample counts from there."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()

    def sample(self) -> dict[str, float]:
        """Metrics `system_…`, over the time since the last sample where they are rates.

        `system_cpu_percent` is 100 for each core that was busy, loaders' processes left out; memory is in MiB.
        """
        return {
            "system_cpu_percent": float(self._process.cpu_percent()),
            "system_memory_mib": self._process.memory_info().rss / _MIB,
            **_gpu(),
        }


def _gpu() -> dict[str, float]:
    """Of the device torch computes on, if this process has used one; how busy it is only with NVIDIA's library."""
    if not (torch.cuda.is_available() and torch.cuda.is_initialized()):
        return {}
    free, total = torch.cuda.mem_get_info()
    metrics = {
        "system_gpu_memory_mib": torch.cuda.memory_reserved() / _MIB,  # of this process
        "system_gpu_memory_percent": 100 * (1 - free / total),  # of all that share the device
    }
    if find_spec("pynvml") is not None:
        metrics["system_gpu_percent"] = float(torch.cuda.utilization())
    return metrics
