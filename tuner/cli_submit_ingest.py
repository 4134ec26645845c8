"""The command that sends an ingestion to a cluster."""

from typing import Annotated

import typer

from tuner.cli_data import LabelsOption, SizeOption, SkipDamagedOption, SplitRuleOption
from tuner.cli_jobs import AddressOption, EnvFileOption, WaitOption, show_submitted
from tuner.cli_model import JsonOption


def submit_ingest(
    source: Annotated[str, typer.Argument(help="Recordings: a URL, or the absolute path of a folder all nodes see.")],
    dataset: Annotated[str, typer.Argument(help="Dataset to write: a URL, or an absolute path all nodes see.")],
    labels: LabelsOption = None,
    split: SplitRuleOption = None,
    size: SizeOption = None,
    processes: Annotated[
        int | None, typer.Option(help="Recordings read side by side; as many as the nodes have processors.")
    ] = None,
    skip_damaged: SkipDamagedOption = False,
    address: AddressOption = None,
    name: Annotated[str | None, typer.Option(help="Of this job alone; ingest if not given.")] = None,
    env_file: EnvFileOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Have a cluster make a dataset, one recording a task, and audit it; the same once more is the same job."""
    from tuner.jobs.client import Client
    from tuner.jobs.ingest_order import ingest_order

    order = ingest_order(
        source,
        dataset,
        name=name,
        labels=labels,
        split=split,
        size=size,
        processes=processes,
        skip_damaged=skip_damaged,
    )
    client = Client(address)
    show_submitted(client, client.send(order, env_file, named=name is not None), wait=wait, as_json=as_json)
