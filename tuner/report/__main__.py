"""Writes a search's report beside the search: `python -m tuner.report SEARCH`, behind all else."""

import os
import sys
from pathlib import Path

from tuner.report.search_report import write_report

NICENESS = 19


def main(folder: Path) -> None:
    """Write the report without taking time from the search's workers."""
    os.nice(NICENESS)
    write_report(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
