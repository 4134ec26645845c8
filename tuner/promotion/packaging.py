"""What is registered: the weights, the code that runs them, their requirements, and how they are asked."""

from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

import data
import model
from data.dataset import Dataset
from data.manifest import Split
from model.detecting import SHOWN_SCORE

MODEL_NAME = "detector"
EXAMPLE_EVENTS, EXAMPLE_US = 200, 20_000  # at most
SCRIPT = Path(__file__).with_name("detector_model.py")
# What `data` and `model` need to find boxes in an event file; a test makes an environment of these and does it.
_PACKAGES = (
    "deflate",
    "faery",
    "filelock",
    "h5py",
    "hdf5plugin",
    "lmdb",
    "mlflow",
    "numba",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "pyarrow",
    "pydantic",
    "pyyaml",
    "safetensors",
    "scipy",
    "spikingjelly",
    "torch",
)

SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            ColSpec(DataType.binary, "events", required=False),
            ColSpec(DataType.string, "suffix", required=False),
            *(ColSpec(DataType.long, name, required=False) for name in ("t", "x", "y", "p")),
        ]
    ),
    outputs=Schema(
        [
            ColSpec(DataType.long, "t_us"),
            *(ColSpec(DataType.double, name) for name in ("x", "y", "w", "h")),
            ColSpec(DataType.string, "class"),
            ColSpec(DataType.double, "score"),
            ColSpec(DataType.long, "track"),
        ]
    ),
    params=ParamSchema([ParamSpec("least_score", DataType.double, SHOWN_SCORE)]),
)


def package_versions() -> dict[str, str]:
    """Of what the detector needs here; without a build's own mark, as +cpu."""
    return {name: version(name).partition("+")[0] for name in _PACKAGES}


def requirements() -> list[str]:
    """The packages, pinned to these versions; which build, is left to pip."""
    return [f"{name}=={pinned}" for name, pinned in package_versions().items()]


def log_detector(checkpoint: Path, card: Path, dataset: Dataset) -> str:
    """Log the model to the run that is active; its id in MLflow.

    Args:
        checkpoint: the weights.
        card: the model card, as README.md.
        dataset: whose first events are the example of what to ask.
    """
    logged = mlflow.pyfunc.log_model(
        name=MODEL_NAME,
        python_model=str(SCRIPT),
        artifacts={"checkpoint": str(checkpoint), "card": str(card)},
        code_paths=[str(Path(package.__path__[0])) for package in (data, model)],
        pip_requirements=requirements(),
        signature=SIGNATURE,
        input_example=_example(dataset),
    )
    return str(logged.model_id)


def _example(dataset: Dataset) -> pd.DataFrame:
    """Events of a training recording."""
    shard = dataset.shards(Split.TRAIN)[0]
    events = shard.events(shard.first_us, shard.first_us + EXAMPLE_US).take(slice(EXAMPLE_EVENTS))
    return pd.DataFrame({"t": events.t, "x": events.x, "y": events.y, "p": events.p}).astype(np.int64)
