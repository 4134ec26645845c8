"""The registered model in MLflow: its champion, the runs of its challengers, and who becomes the next one.

Everything is looked for before it is made, so that a promotion that was killed goes on where it was.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from data.errors import InputError, SpiketuneError
from tuner.recording.provenance import provenance
from tuner.recording.runs import connect
from tuner.store import as_default, experiment_id, tracking_uri

ALIAS = "champion"
KIND = "promotion"
CHECKPOINTS = "checkpoints"  # of the run: those of all trainings
MEASURED = "measured"  # tag of the run: digests of the checkpoints that were measured on test
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}  # no such model; a model without such an alias
_TAG_LENGTH = 5000
_BARS = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"


@dataclass(frozen=True)
class Champion:
    """The version that has the alias."""

    version: str
    run_id: str
    tags: Mapping[str, str]

    def values_on(self, dataset_digest: str) -> list[float] | None:
        """Its trainings' mAP on the test recordings of this dataset; None if it was not measured there."""
        own = self.tags.get("dataset_digest") == dataset_digest
        text = self.tags.get("test_map_values" if own else _elsewhere(dataset_digest))
        return None if text is None else [float(value) for value in json.loads(text)]


class Registry:
    """One registered model in the store of the searches."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.store = tracking_uri()
        self._client: MlflowClient = connect(self.store)

    def champion(self) -> Champion | None:
        """The present champion.

        Raises:
            SpiketuneError: MLflow does not answer.
        """
        with self._told():
            try:
                found = self._client.get_model_version_by_alias(self.name, ALIAS)
            except MlflowException as error:
                if error.error_code in _ABSENT:
                    return None
                raise
            return Champion(str(found.version), str(found.run_id), dict(found.tags))

    def measured_elsewhere(self, champion: Champion, dataset_digest: str, values: Sequence[float]) -> None:
        """Keep with the champion what it is worth on another test set."""
        with self._told():
            tag = _elsewhere(dataset_digest)
            self._client.set_model_version_tag(self.name, champion.version, tag, json.dumps(list(values)))

    def checkpoints_of(self, champion: Champion, folder: Path) -> list[Path]:
        """The champion's trainings, by seed, brought into a folder.

        Raises:
            InputError: its run has none any more.
        """
        with self._told():
            names = [item.path for item in self._client.list_artifacts(champion.run_id, CHECKPOINTS)]
            if not names:
                raise InputError(
                    f"{self.name} version {champion.version}: its run {champion.run_id} has no {CHECKPOINTS} any more, "
                    "so it cannot be measured on this test set; register under another --name"
                )
            folder.mkdir(parents=True, exist_ok=True)
            return sorted(Path(self._client.download_artifacts(champion.run_id, name, str(folder))) for name in names)

    def run_of(self, challenger: str, name: str, search_id: str, tags: Mapping[str, str]) -> str:
        """The run of a challenger, made if there is none."""
        with self._told():
            mine = f"tags.challenger = '{challenger}' and tags.model_name = '{self.name}'"
            known = self._search(f"tags.kind = '{KIND}' and {mine}")
            if known:
                return known[0]
            above = self._search(f"tags.kind = 'search' and tags.search_id = '{search_id}'")
            below = {"mlflow.parentRunId": above[0]} if above else {}
            own = {"kind": KIND, "challenger": challenger, "model_name": self.name, "search_id": search_id}
            run = self._client.create_run(
                self._experiment(), tags={**provenance(), **tags, **own, **below}, run_name=name
            )
            return str(run.info.run_id)

    def record(
        self, run_id: str, params: Mapping[str, object], metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> None:
        """Write a run's numbers; parameters only once, for MLflow never changes them."""
        with self._told():
            there = self._client.get_run(run_id).data.params
            self._client.log_batch(
                run_id,
                [Metric(name, value, time.time_ns() // 1_000_000, 0) for name, value in metrics.items()],
                [Param(name, str(value)[:_TAG_LENGTH]) for name, value in params.items() if name not in there],
                [RunTag(name, value[:_TAG_LENGTH]) for name, value in tags.items()],
            )

    def upload(self, run_id: str, file: Path) -> None:
        """Add a file to a run, over the one it may have."""
        with self._told():
            self._client.log_artifact(run_id, str(file))

    def upload_as(self, run_id: str, files: Mapping[str, Path], folder: str) -> None:
        """Add files to a folder of a run under other names, unless it has them."""
        with self._told(), TemporaryDirectory() as staged:
            there = {Path(item.path).name for item in self._client.list_artifacts(run_id, folder)}
            for name, file in files.items():
                if name not in there:
                    copy = Path(staged, name)
                    shutil.copyfile(file, copy)
                    self._client.log_artifact(run_id, str(copy), folder)

    def close(self, run_id: str) -> None:
        """The run is over."""
        with self._told():
            self._client.set_terminated(run_id, "FINISHED")

    def version_of(self, challenger: str) -> str | None:
        """The version that this challenger was registered as, if it was."""
        with self._told():
            versions: Sequence[ModelVersion] = self._client.search_model_versions(f"name = '{self.name}'")
            found = [version for version in versions if version.tags.get("challenger") == challenger]
            return str(found[0].version) if found else None

    def register(self, run_id: str, log_model: Callable[[], str], tags: Mapping[str, str], description: str) -> str:
        """A new version, from the model of the run; `log_model` makes that, and returns its id, where there is none."""
        with self._told(), self._as_default(run_id):
            outputs = self._client.get_run(run_id).outputs
            logged = [output.model_id for output in outputs.model_outputs] if outputs is not None else []
            whole = [model for model in logged if str(self._client.get_logged_model(model).status) == "READY"]
            model_id = whole[0] if whole else log_model()
            short = {name: text[:_TAG_LENGTH] for name, text in tags.items()}
            made = mlflow.register_model(f"models:/{model_id}", self.name, tags=short)
            self._client.update_model_version(self.name, made.version, description[:_TAG_LENGTH])
            self._client.update_registered_model(self.name, description[:_TAG_LENGTH])
            return str(made.version)

    def crown(self, version: str) -> None:
        """Move the alias."""
        with self._told():
            self._client.set_registered_model_alias(self.name, ALIAS, version)

    def looks(self, dataset_digest: str) -> int:
        """How many checkpoints of this model's challengers were measured on the test recordings of this dataset."""
        with self._told():
            rule = f"tags.model_name = '{self.name}' and tags.dataset_digest = '{dataset_digest}'"
            runs = self._client.search_runs([self._experiment()], f"tags.kind = '{KIND}' and {rule}")
            return len({digest for run in runs for digest in run.data.tags.get(MEASURED, "").split()})

    def _search(self, rule: str) -> list[str]:
        return [str(run.info.run_id) for run in self._client.search_runs([self._experiment()], rule, max_results=1)]

    def _experiment(self) -> str:
        found = experiment_id(self._client)
        if found is None:
            raise InputError(
                f"MLflow at {self.store}: the experiment is deleted; restore it or set MLFLOW_TRACKING_URI"
            )
        return found

    @contextmanager
    def _as_default(self, run_id: str) -> Iterator[None]:
        """Have MLflow's own functions, which ask for neither store nor run, write there, and say nothing of it."""
        logger = logging.getLogger("mlflow")
        bars, level = os.environ.get(_BARS), logger.level
        os.environ[_BARS] = "false"
        logger.setLevel(logging.WARNING)
        try:
            with as_default(self.store), mlflow.start_run(run_id=run_id), redirect_stderr(StringIO()):
                yield
        finally:
            logger.setLevel(level)
            os.environ.pop(_BARS, None) if bars is None else os.environ.update({_BARS: bars})

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except MlflowException as error:
            reason = (str(error).splitlines() or ["no reason given"])[0]
            raise SpiketuneError(f"MLflow at {self.store}: {reason}; the same command goes on from here") from error


def _elsewhere(dataset_digest: str) -> str:
    return f"test_map_values.{dataset_digest[:16]}"
