"""How to do it again: commands, digests, versions, seed and the specification itself."""

import hashlib
import shlex
from itertools import islice
from pathlib import Path

from markupsafe import Markup

from tuner.history import SearchHistory
from tuner.recording.records import SEARCH, Open, from_line
from tuner.recording.spool import RECORDS, SPOOL_FOLDER
from tuner.report.section import Section, nothing, pairs_html
from tuner.result import BEST_CHECKPOINT, BEST_CONFIG
from tuner.search_folder import SPEC_FILE

ANCHOR, TITLE = "reproduce", "How to reproduce it"
_COMMIT = "mlflow.source.git.commit"


def reproduce_section(history: SearchHistory) -> Section:
    """What somebody else needs to have the same search."""
    result, identity = history.result, history.identity
    spec = _text(result.folder / SPEC_FILE)
    recorded = recorded_provenance(result.folder)
    digest = hashlib.sha256(spec.encode()).hexdigest() if spec is not None else "gone"
    pairs = [
        ("search", result.search_id),
        ("dataset", identity.dataset),
        ("digest of the dataset", identity.digest),
        ("digest of the specification", f"sha256 {digest}"),
        ("seed of the search", str(result.spec.file.sampler.seed)),
        ("seed of the default training", str(result.spec.default.training.seed)),
        ("commit", recorded.get(_COMMIT, "not known: it was not started from a git repository")),
        *((name.removeprefix("version."), text) for name, text in recorded.items() if name.startswith("version.")),
    ]
    html = Markup("<pre><code>{}</code></pre>").format("\n".join(_commands(history)))
    html += pairs_html(pairs)
    if not recorded:
        html += nothing("The versions it ran with are not known: the folder holds no records for MLflow.")
    if spec is not None:
        html += Markup("<h3>Specification</h3><pre><code>{}</code></pre>").format(spec)
    return Section(ANCHOR, TITLE, html)


def recorded_provenance(folder: Path) -> dict[str, str]:
    """Versions and commit that the search began with, as it told MLflow; empty where it did not."""
    try:
        with (folder / SPOOL_FOLDER / RECORDS).open("rb") as file:
            for line in islice(file, 20):  # it is the first thing that a search tells
                record = from_line(line)
                if isinstance(record, Open) and record.run == SEARCH:
                    return {key: text for key, text in record.tags.items() if key.startswith(("version.", _COMMIT))}
    except OSError:
        return {}
    return {}


def _commands(history: SearchHistory) -> list[str]:
    folder, data = shlex.quote(str(history.result.folder)), shlex.quote(history.identity.dataset)
    spec = f"{folder}/{SPEC_FILE}"
    lines = ["# the search again", f"spiketune search {spec} --data {data}"]
    if history.result.best is not None:
        config, checkpoint = f"{folder}/{BEST_CONFIG}", f"{folder}/{BEST_CHECKPOINT}"
        lines += ["# the winner's training alone", f"spiketune train --config {config} --data {data} --out winner"]
        lines += ["# its value, measured again", f"spiketune evaluate {checkpoint} --data {data}"]
    return [*lines, "# this page", f"spiketune report {folder}"]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None
