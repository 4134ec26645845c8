"""The command that puts searches on a page."""

from pathlib import Path
from typing import Annotated

import typer

from tuner.output import print_line


def report(
    searches: Annotated[
        list[str], typer.Argument(metavar="SEARCH...", help="Folder, id or name of a search; several are compared.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="File to write; SEARCH/report.html, or comparison.html, if not given.")
    ] = None,
    examine: Annotated[
        bool, typer.Option("--examine/--no-examine", help="Measure the winner, where that has not been done yet.")
    ] = True,
) -> None:
    """Write what a search tells as one HTML file; of several searches, how they compare."""
    from data.errors import InputError
    from tuner.history import search_folder_of

    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out={out} must end in .html")
    folders = [search_folder_of(text) for text in searches]
    if len(folders) > 1:
        from tuner.report.comparison import write_comparison

        print_line(str(write_comparison(folders, out)))
        return
    from tuner.report.search_report import write_report

    print_line(str(write_report(folders[0], out, examined=examine)))
