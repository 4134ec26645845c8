"""Where a detector is: a checkpoint's file, the winner of a search, or a model or a file that MLflow keeps."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from data.errors import InputError
from tuner.history import search_folder_of

IN_MLFLOW = ("models:/", "runs:/")
CHECKPOINT_ENDING = ".safetensors"
ARTIFACT = "checkpoint"  # what the registered model calls its weights
MODEL_FILE = "MLmodel"


@contextmanager
def checkpoint_file(address: str) -> Iterator[Path]:
    """The checkpoint on this machine, as long as the `with` block lasts.

    Args:
        address: a *.safetensors, a search as `search_folder_of` understands it, or models:/NAME@ALIAS,
            models:/NAME/VERSION or runs:/ID/PATH of a model or of a *.safetensors.

    Raises:
        InputError: there is no such thing, or no checkpoint in it.
    """
    if address.startswith(IN_MLFLOW):
        with TemporaryDirectory() as scratch:
            yield _fetched(address, Path(scratch))
    elif Path(address).is_file() or address.endswith(CHECKPOINT_ENDING):
        yield Path(address)
    else:
        yield _winner(search_folder_of(address))


def _winner(folder: Path) -> Path:
    from tuner.result import BEST_CHECKPOINT

    checkpoint = folder / BEST_CHECKPOINT
    if not checkpoint.is_file():
        raise InputError(f"{folder}: has no {BEST_CHECKPOINT} yet; it is written when the search ends")
    return checkpoint


def _fetched(address: str, scratch: Path) -> Path:
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    if address.endswith(CHECKPOINT_ENDING):
        return _downloaded(address, scratch)
    try:
        flavor = Model.load(str(_downloaded(f"{address}/{MODEL_FILE}", scratch))).flavors["python_function"]
        stored = flavor["artifacts"][ARTIFACT]["path"]
    except (MlflowException, KeyError, TypeError):
        raise InputError(
            f"{address}: is no detector that `spiketune promote` registered; name one, or a *{CHECKPOINT_ENDING}"
        ) from None
    return _downloaded(f"{address}/{stored}", scratch)


def _downloaded(address: str, scratch: Path) -> Path:
    """One file out of MLflow.

    Raises:
        InputError: it is not there.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    from tuner.store import as_default, tracking_uri

    store = tracking_uri()
    try:
        with as_default(store):  # a registered name is looked up nowhere else, whatever store is given
            return Path(mlflow.artifacts.download_artifacts(address, dst_path=str(scratch)))
    except (MlflowException, OSError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise InputError(f"{address}: cannot be had from MLflow at {store}: {reason}; check the name") from None
