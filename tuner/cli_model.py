"""What commands share: options, and how they end when they are interrupted."""

from typing import TYPE_CHECKING, Annotated

import typer

from data.errors import InputError

if TYPE_CHECKING:
    from data.manifest import Split

INTERRUPT_EXIT = 130  # 128 + SIGINT, as shells have it

DataOption = Annotated[str, typer.Option("--data", help="Dataset that `spiketune ingest` wrote: a folder or a URL.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, all else on stderr.")]


def read_split_name(name: str) -> "Split":
    """The split of this name.

    Raises:
        InputError: there is none.
    """
    from data.manifest import Split

    if name not in list(Split):
        raise InputError(f"--split {name}: must be one of {', '.join(Split)}")
    return Split(name)
