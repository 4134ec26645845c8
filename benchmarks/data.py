"""How fast the data floor is, against named peers measured in the same run, one thread unless said.

    pip install -e '.[benchmarks]'
    python benchmarks/data.py [--quick] [--json FILE]

Events are synthetic, at 1280x720, some 3 million a second as in eTraM's train_night_0040: objects that move, and noise.
Figures are medians of rounds in which the contenders take turns. `--quick` takes a fiftieth of the events, so that the
workers' start rules its ingestion, and stops the growth at 10^7.
"""

import argparse
import sys
import tempfile
from pathlib import Path

# This file shares its name with the package it measures: its folder must not be searched first.
sys.path[0] = str(Path(__file__).parent.parent)

from benchmarks import growing, ingesting, reading, rendering, sharing
from benchmarks.table import Row, console, finish


def measure(folder: Path, events: int, growth: list[int]) -> list[Row]:
    console.print(f"ingesting two recordings of {events:,} events, two processes ...")
    rows = ingesting.measure(folder, events)
    dataset = folder / "dataset"
    console.print("rendering ...")
    rows = rendering.measure(dataset, folder) + reading.measure(dataset, folder) + rows
    console.print("four trials on one node ...")
    rows += sharing.measure(dataset)
    console.print("growth ...")
    return rows + growing.measure(folder, growth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        events = 2_000_000 if arguments.quick else 10**8  # eTraM's recordings have 210 million on average
        growth = [10**6, 10**7] if arguments.quick else [10**6, 10**7, 10**8]
        finish(measure(Path(name), events, growth), arguments.json)


if __name__ == "__main__":
    main()
