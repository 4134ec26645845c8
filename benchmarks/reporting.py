"""The report of a search of a thousand trials: how long it takes to write, and how large it is.

    pip install -e '.[dev]'
    python benchmarks/reporting.py [--trials 1000] [--json FILE]

Every trial is trained for all 27 epochs, so that there is as much to draw as there can be. Ours is the command in a
process of its own, from the study in its file to the page in its, with the imports. The peer is Optuna's own figures of
the same trials, which are in its memory already, each written by plotly into one page that holds the library once.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Beside this file lie some that share their names with packages: its folder must not be searched first.
sys.path[0] = str(Path(__file__).parent.parent)

import optuna
from optuna import visualization

from benchmarks.reporting_study import optuna_study, write
from benchmarks.table import Row, console, finish, limit, row

OURS_S, OURS_MIB = 20.0, 15.0
_COMMAND = "from tuner.cli import main; main()"


def measure(folder: Path, trials: int) -> list[Row]:
    """Rows of a search in `folder`."""
    console.print(f"making up {trials:,} trials ...")
    spec, made = write(folder / "search", trials)
    begun = time.monotonic()
    command = [sys.executable, "-c", _COMMAND, "report", str(folder / "search"), "--out", str(folder / "ours.html")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    ours_s = time.monotonic() - begun
    study = optuna_study(spec, made)
    begun = time.monotonic()
    peer_mib = _peer(study, folder / "peer.html")
    peer_s = time.monotonic() - begun
    ours_mib = (folder / "ours.html").stat().st_size / 2**20
    return [
        limit(f"seconds for the report of {trials:,} trials", ours_s, OURS_S),
        limit("MiB of the page", ours_mib, OURS_MIB),
        row("seconds, against Optuna's figures", ours_s, peer_s, 1, smaller_is_better=True),
        row("MiB, against Optuna's figures", ours_mib, peer_mib, 1, smaller_is_better=True),
    ]


def _peer(study: optuna.Study, file: Path) -> float:
    """Optuna's figures of what ours shows, where it has one; MiB of the page."""
    figures = [
        visualization.plot_optimization_history(study),
        visualization.plot_intermediate_values(study),
        visualization.plot_param_importances(study),
        visualization.plot_parallel_coordinate(study),
        visualization.plot_slice(study),
        visualization.plot_contour(study, params=["loss.box", "loss.focal_gamma", "loss.cls"]),
        visualization.plot_timeline(study),
    ]
    parts = [one.to_html(full_html=False, include_plotlyjs=place == 0) for place, one in enumerate(figures)]
    file.write_text(f"<html><body>{''.join(parts)}</body></html>", encoding="utf-8")
    return file.stat().st_size / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        finish(measure(Path(name), arguments.trials), arguments.json)


if __name__ == "__main__":
    main()
