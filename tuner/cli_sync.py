"""The command that writes to MLflow what a search could not."""

from pathlib import Path
from typing import Annotated

import typer

from tuner.output import print_line


def sync(
    folder: Annotated[Path, typer.Argument(metavar="SEARCH_DIR", help="The folder a search wrote.")],
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for a server that is away.")] = 60,
) -> None:
    """Write to MLflow what a search has left waiting in its folder."""
    from data.errors import SpiketuneError
    from tuner.recording.background import drain

    settled = drain(folder, wait)
    print_line(f"{settled.written} records written to {settled.store}")
    if settled.waiting:
        raise SpiketuneError("; ".join(settled.notes))
    for note in settled.notes:
        print_line(note, on_stderr=True)
