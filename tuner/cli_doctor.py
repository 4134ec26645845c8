"""The command that looks for what would hinder a search."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli_model import JsonOption
from tuner.output import print_json, print_line

if TYPE_CHECKING:
    from tuner.doctor.verdict import Verdict


def doctor(
    address: Annotated[
        str | None,
        typer.Option(metavar="RAY", help="auto on a node of the cluster, or HOST:6379; RAY_ADDRESS if not given."),
    ] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of `ray up`: look at its head from here, and at all else there."),
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="DATASET", help="That every node should see.")] = None,
    shared: Annotated[
        str | None, typer.Option(metavar="PLACE", help="That every node should see; SPIKETUNE_SHARED if not given.")
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With MLFLOW_TRACKING_URI, SPIKETUNE_STUDY_URL and passwords; with --cluster, of the head.",
        ),
    ] = None,
    patience: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="For an answer of a node; who is later is told as silent.")
    ] = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Look for what would hinder a search: on a cluster, or on this machine alone. Exit code 1: something failed."""
    from tuner.doctor.begin import Wishes, diagnose
    from tuner.doctor.verdict import healthy

    verdicts = diagnose(Wishes(address, data, shared, env_file, patience), cluster)
    if as_json:
        print_json({"healthy": healthy(verdicts), "verdicts": [verdict.as_dict() for verdict in verdicts]})
    else:
        for verdict in verdicts:
            _show(verdict)
    if not healthy(verdicts):
        raise typer.Exit(1)


def _show(verdict: "Verdict") -> None:
    where = f"{', '.join(verdict.nodes)}: " if verdict.nodes else ""
    print_line(f"{verdict.level:6}{verdict.check:16}{where}{verdict.found}")
    if verdict.remedy:
        print_line(f"{'':22}-> {verdict.remedy}")
