"""Writes a search's report beside the search: `python -m tuner.report SEARCH [--examined]`, behind all else."""

import os
import sys
from pathlib import Path

from tuner.report.refreshing import EXAMINED
from tuner.report.search_report import write_report

NICENESS = 19


def main(folder: Path, *, examined: bool) -> None:
    """Write the report without taking time from the search's workers."""
    os.nice(NICENESS)
    write_report(folder, examined=examined)


if __name__ == "__main__":
    main(Path(sys.argv[1]), examined=EXAMINED in sys.argv[2:])
