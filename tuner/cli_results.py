"""Commands that read what a search wrote: how it stands, what it found, its trials, and what became of one."""

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli_jobs import AddressOption, job_status
from tuner.cli_model import JsonOption
from tuner.output import plain_console, print_json, print_line

SearchArgument = Annotated[
    str,
    typer.Argument(
        metavar="SEARCH", help="The folder a search wrote, its id, or its spec's name for the newest below runs/."
    ),
]
STDOUT = Path("-")


def status(
    search: Annotated[
        str,
        typer.Argument(
            metavar="SEARCH|JOB",
            help="The folder a search wrote, its id, its spec's name for the newest below runs/; or a cluster's job.",
        ),
    ],
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how a search stands, or a job of a cluster; it may be running."""
    from tuner.jobs.order import is_job

    # A job's id ends with a digest and a search's with a time, so the one is never taken for the other.
    if address is not None or (is_job(search) and not Path(search).exists()):
        job_status(search, address, as_json=as_json)
        return
    from tuner.history import search_folder_of
    from tuner.overview import read_overview
    from tuner.status import status_of

    found = status_of(read_overview(search_folder_of(search)))
    if as_json:
        print_json(found.as_dict())
    else:
        from tuner.status_display import show_status

        show_status(plain_console(), found)


def best(search: SearchArgument, as_json: JsonOption = False) -> None:
    """Show what a search found."""
    from tuner.display import show_result
    from tuner.history import search_folder_of
    from tuner.result import read_result

    result = read_result(search_folder_of(search))
    if as_json:
        print_json(result.as_dict())
    else:
        show_result(plain_console(), result, "DATASET")


def trials(
    search: SearchArgument,
    sort: Annotated[
        str, typer.Option(metavar="COLUMN", help="The best first where there is one; -COLUMN turns it round.")
    ] = "number",
    state: Annotated[
        list[str] | None, typer.Option(help="Only trials in this state, such as stopped; may be given again.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table as CSV; - is stdout.")] = None,
    arrow: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the table as an Arrow (Feather) file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show all trials of a search as a table."""
    from data.errors import InputError
    from tuner.history import search_folder_of
    from tuner.overview import read_overview
    from tuner.trials_table import trials_of

    if as_json and csv == STDOUT:
        raise InputError("--csv -: stdout carries the JSON of --json; write the CSV to a file, or drop one of them")
    table = trials_of(read_overview(search_folder_of(search))).sorted_by(sort)
    if state:
        table = table.of_states(state)
    if csv is not None and csv != STDOUT:
        table.write_csv(csv)
    if arrow is not None:
        table.write_arrow(arrow)
    if as_json:
        print_json({"search_id": table.search_id, "trials": table.dicts()})
    elif csv == STDOUT:
        typer.echo(table.as_csv(), nl=False)
    elif csv is None and arrow is None:
        from tuner.trials_display import show_trials

        show_trials(plain_console(), table)
    else:
        written = " and ".join(str(path) for path in (csv, arrow) if path is not None)
        print_line(f"{len(table.rows)} trials written to {written}")


def explain(
    search: SearchArgument,
    trial: Annotated[int, typer.Argument(min=0, help="Its number.")],
    as_json: JsonOption = False,
) -> None:
    """Tell why a trial was stopped, or how else it ended, with its curve, its settings and its diagnosis."""
    from tuner.explanation.explain import explain as explained
    from tuner.history import read_history, search_folder_of

    found = explained(read_history(search_folder_of(search)), trial)
    if as_json:
        print_json(found.as_dict())
    else:
        from tuner.explanation.display import show_explanation

        show_explanation(plain_console(), found)
