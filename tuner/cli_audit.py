"""The command that looks for what is wrong with recordings or a dataset, before time on a GPU is spent on it."""

from typing import Annotated

import typer

from tuner.output import print_json


def audit(
    path: Annotated[str, typer.Argument(help="Dataset, or folder of recordings in any layout; a path or a URL.")],
    labels: Annotated[
        str | None, typer.Option(help="Label set of recordings, where the layout does not tell; as for ingest.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="For recordings in no split folder: train, val, test, or shares as 8:1:1.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT in pixels of recordings whose files do not name it.")
    ] = None,
    on_cluster: Annotated[
        bool,
        typer.Option("--on-cluster", help="On the nodes of the cluster RAY_ADDRESS names, or that runs here."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the audit as JSON on stdout.")] = False,
) -> None:
    """Find what is wrong with recordings or a dataset. Exit code 1: something is."""
    from data.audit.preflight import Options
    from data.audit.preflight import audit as look
    from data.formats.discovery import read_size
    from data.formats.label_scheme import read_labels
    from data.formats.splits import read_split
    from tuner.audit_display import AuditProgress, as_json, show

    options = Options(
        labels=None if labels is None else read_labels(labels),
        split=None if split is None else read_split(split),
        size=None if size is None else read_size(size),
    )
    with AuditProgress() as progress:
        if on_cluster:
            from tuner.cluster_ingest import audit_on_cluster, on_the_cluster

            with on_the_cluster():
                found = look(path, options, progress, measure=audit_on_cluster)
        else:
            found = look(path, options, progress)
    if json:
        print_json(as_json(found))
    else:
        show(found)
    if found.failed:
        raise typer.Exit(1)
