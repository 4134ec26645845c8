"""What the searches of a benchmark train: YAHPO Gym's surrogate of LCBench, a network's validation accuracy and time
over 52 epochs for 34 tasks and 7 hyperparameters. Needs NumPy and ONNX Runtime only.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

EPOCHS = 52
DEFAULT_FOLDER = Path(__file__).parents[2] / "shared" / "benchmarks" / "yahpo_lcbench"
# The order of the model's inputs after the epoch.
NAMES = ("batch_size", "learning_rate", "momentum", "weight_decay", "num_layers", "max_units", "max_dropout")
SAMPLE = 4000  # configurations trained in full to know what is good on a task
SAMPLE_STREAM = 0x5A3B  # keeps these draws apart from a sampler's, which may have the same seed and number
SHORTEST_S = 1e-3  # a modelled clock now and then stands still or runs backwards
Config = dict[str, int | float]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A hyperparameter's range, evenly over itself or over its logarithm."""

    name: str
    low: float
    high: float
    log: bool
    integer: bool

    def at(self, share: float) -> int | float:
        """The value at a share in [0, 1) of the range."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.integer else (self.low, self.high)
        value = float(low * (high / low) ** share if self.log else low + (high - low) * share)
        value = min(max(value, self.low), self.high)
        return round(value) if self.integer else value


@dataclass(frozen=True, slots=True)
class Curve:
    """A whole training, by epoch from 1."""

    accuracy: NDArray[np.float64]  # [52] in percent
    seconds: NDArray[np.float64]  # [52] each epoch's own


@dataclass(frozen=True, slots=True)
class Scale:
    """What makes accuracies of different tasks comparable."""

    best: float  # the highest accuracy of the sample
    median: float  # of the best of 20 random full trainings


class Surrogate:
    """The trainings of all tasks."""

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(folder / "model.onnx", options)
        self._codes = json.loads((folder / "encoding.json").read_text(encoding="utf-8"))["OpenML_task_id"]
        told = json.loads((folder / "config_space.json").read_text(encoding="utf-8"))["hyperparameters"]
        described = {entry["name"]: entry for entry in told}
        self.tasks: list[str] = described["OpenML_task_id"]["choices"]
        self.parameters = [_parameter(described[name]) for name in NAMES]

    def train(self, task: str, config: Config) -> Curve:
        """All epochs of a configuration."""
        rows = np.empty((EPOCHS, 1 + len(NAMES)), dtype=np.float32)
        rows[:, 0] = np.arange(1, EPOCHS + 1)
        rows[:, 1:] = [config[name] for name in NAMES]
        codes = np.full((EPOCHS, 1), self._codes[task], dtype=np.int32)
        said = self._session.run(None, {"x_cat": codes, "x_cont": rows})[0].astype(np.float64)
        seconds = np.diff(np.maximum.accumulate(said[:, 0]), prepend=0.0)
        return Curve(said[:, 1], np.maximum(seconds, SHORTEST_S))

    def sample(self, seed: int, count: int, place: int = 0) -> list[Config]:
        """Random configurations; others at another place."""
        shares = np.random.default_rng((seed, place, SAMPLE_STREAM)).random((count, len(NAMES)))
        return [{p.name: p.at(share) for p, share in zip(self.parameters, row, strict=True)} for row in shares]

    def scale(self, task: str) -> Scale:
        """From a large random sample, every training at its best epoch."""
        reached = [float(self.train(task, config).accuracy.max()) for config in self.sample(seed=0, count=SAMPLE)]
        # The best of 20 lies below x with probability F(x)^20; at the median that is a half.
        return Scale(max(reached), float(np.quantile(reached, 0.5 ** (1 / 20))))


def spread(tasks: list[str], count: int) -> list[str]:
    """`count` of the tasks, evenly over their order."""
    count = min(count, len(tasks))
    return [tasks[index * len(tasks) // count] for index in range(count)]


def _parameter(entry: dict[str, object]) -> Parameter:
    low, high = float(str(entry["lower"])), float(str(entry["upper"]))
    return Parameter(str(entry["name"]), low, high, bool(entry["log"]), entry["type"] == "uniform_int")
