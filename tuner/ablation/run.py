"""run_ablation: every training through the search engine, then the tables of what they came to."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from data.dataset import Dataset
from data.storage import whole_text
from model.training.run import train
from tuner.ablation.compiling import Group, compiled
from tuner.ablation.configurations import Configuration, Row, distinct, rows_of
from tuner.ablation.costs import NetCosts, net_costs
from tuner.ablation.figure import write_figure
from tuner.ablation.loading import Ablation
from tuner.ablation.measuring import measured
from tuner.ablation.spec import OF_THE_NET
from tuner.ablation.table import Table, tables_of
from tuner.ablation.writing import as_tree, markdown, write_json
from tuner.halt import INTERRUPTED
from tuner.history import read_history
from tuner.output import new_folder
from tuner.search import run_search
from tuner.search_folder import IDENTITY_FILE, RUNS
from tuner.trial import TrainFunction

RESULT_JSON, RESULT_MARKDOWN, RESULT_FIGURE, SPEC_FILE = "ablation.json", "ablation.md", "ablation.png", "ablation.yaml"


@dataclass(frozen=True)
class AblationResult:
    """The tables of an ablation."""

    ablation: Ablation
    folder: Path
    tables: list[Table]
    interrupted: bool

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "name": self.ablation.file.name,
            "variant": self.ablation.variant,
            "folder": str(self.folder),
            "seeds": list(self.ablation.seeds),
            "objective": self.ablation.objective.metric,
            "interrupted": self.interrupted,
            "tables": as_tree(self.tables),
        }

    def markdown(self) -> str:
        """The tables as the documents have them."""
        return markdown(self.tables, self.ablation.file.columns, self.ablation.objective.metric)


def run_ablation(
    ablation: Ablation,
    dataset: str | Path,
    out: Path | None = None,
    *,
    resume: bool = False,
    progress_on_stderr: bool = False,
    train_function: TrainFunction = train,
) -> AblationResult:
    """Train every configuration with every seed, and write the tables into `out` (runs/NAME-TIME unless given).

    Raises:
        InputError: the dataset or a configuration does not fit, or `out` is another's. Nothing has been started then.
        TrainingError: every training of a search failed, or one after the other failed with the same error.
    """
    rows, groups = rows_of(ablation), compiled(ablation)
    opened = Dataset.open(dataset)
    folder = _folder(ablation, groups, out, resume=resume)
    interrupted = False
    for group in groups:
        result = run_search(
            group.spec,
            dataset,
            folder / group.folder,
            resume=resume,
            progress_on_stderr=progress_on_stderr,
            report=False,
            train_function=train_function,
        )
        if result.halted == INTERRUPTED:
            interrupted = True
            break
    tables = _tables(ablation, rows, groups, folder, opened)
    found = AblationResult(ablation, folder, tables, interrupted)
    write_json(folder / RESULT_JSON, found.as_dict())
    whole_text(folder / RESULT_MARKDOWN, found.markdown())
    write_figure(tables, ablation.objective.metric, ablation.file.name, folder / RESULT_FIGURE)
    return found


def _tables(ablation: Ablation, rows: list[Row], groups: list[Group], folder: Path, dataset: Dataset) -> list[Table]:
    histories = []
    for group in groups:
        search = folder / group.folder
        trials = read_history(search).trials if (search / IDENTITY_FILE).is_file() else ()
        histories.append((group, trials))
    costs: dict[Configuration, NetCosts] = {}
    if OF_THE_NET & {*ablation.file.columns}:
        costs = {one: net_costs(one.config, dataset) for one in distinct(rows)}
    return tables_of(rows, measured(histories), costs, ablation.objective.metric)


def _folder(ablation: Ablation, groups: list[Group], out: Path | None, *, resume: bool) -> Path:
    """The folder of a new ablation, or of the one that is resumed: that in `out`, or the newest of this name."""
    name = ablation.file.name
    first = Path(groups[0].folder) / IDENTITY_FILE
    folder = out
    if resume and out is None:
        begun = [file.parents[1] for file in RUNS.glob(f"{name}-*/{first}")]
        folder = max(begun, key=lambda one: (one / first).stat().st_mtime, default=None)
    if folder is None:
        folder = RUNS / f"{name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    if not (resume and (folder / first).is_file()):
        new_folder(folder)
    tree = ablation.file.model_dump(mode="json", exclude_unset=True)
    whole_text(folder / SPEC_FILE, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))
    return folder
