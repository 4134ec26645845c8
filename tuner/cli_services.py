"""The commands of a cluster's head: its services, and who may use them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli_model import JsonOption
from tuner.output import print_json, print_line
from tuner.services.spot_notice import METADATA, Provider

if TYPE_CHECKING:
    from tuner.services.lifecycle import ProgramStatus
    from tuner.services.state import State

services = typer.Typer(
    help="PostgreSQL, MLflow's server and the keeper of jobs on a cluster's head.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
StateOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Where they keep all they have; ~/spiketune-services, or /var/lib/spiketune-services for root.",
    ),
]
PortOption = Annotated[int, typer.Option(min=1, max=65535)]


@services.command()
def start(
    state: StateOption = None,
    address: Annotated[str, typer.Option(metavar="IP", help="Of this machine in the cluster's network.")] = "127.0.0.1",
    name: Annotated[
        str | None, typer.Option(metavar="HOST", help="By which others call this machine, if not by --address.")
    ] = None,
    artifacts: Annotated[
        str | None,
        typer.Option(metavar="PLACE", help="A folder or s3://BUCKET/FOLDER for MLflow's files; below --state."),
    ] = None,
    keep_jobs: Annotated[
        bool, typer.Option("--keep-jobs", help="Also submit anew the jobs whose driver was lost with its node.")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="Allow an --address that the world may reach.")] = False,
    mlflow_port: PortOption = 5000,
    database_port: PortOption = 5432,
    workers: Annotated[int, typer.Option(min=1, help="Processes that answer MLflow's requests.")] = 2,
    as_json: JsonOption = False,
) -> None:
    """Start them, or what of them does not run; the folder every node sees is SPIKETUNE_SHARED's."""
    from tuner.services.lifecycle import start as start_services
    from tuner.services.settings import Settings, check_address, check_artifacts, check_name, plain_shared_folder
    from tuner.services.state import state_at

    place = state_at(state)
    check_address(address, public)
    check_name(name or address)
    files = artifacts or str(place.folder / "artifacts")
    check_artifacts(files)
    settings = Settings(
        address, name or address, plain_shared_folder(), files, mlflow_port, database_port, workers, keep_jobs
    )
    _show(start_services(place, settings, lambda text: print_line(text, on_stderr=True)), place, as_json)


@services.command()
def stop(state: StateOption = None) -> None:
    """Stop them; what they keep stays."""
    from tuner.services.lifecycle import stop as stop_services
    from tuner.services.state import state_at

    place = state_at(state)
    stop_services(place)
    print_line(f"stopped; what they keep is in {place.folder}")


@services.command()
def status(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show how each of them is."""
    from tuner.services.lifecycle import status as status_of
    from tuner.services.state import state_at

    place = state_at(state)
    _show(status_of(place), place, as_json)


@services.command("add-user")
def add_user(
    name: Annotated[str, typer.Argument(help="Small letters, digits and -.")], state: StateOption = None
) -> None:
    """Make a user, who reads all runs and writes those of an experiment of its own."""
    from tuner.services.accounts import add_user as make_user
    from tuner.services.settings import read_settings
    from tuner.services.state import state_at

    place = state_at(state)
    print_line(f"{make_user(place, read_settings(place), name)}: give it to {name}, and to nobody else")


def watch_spot(
    provider: Annotated[Provider, typer.Argument(help="Whose machine this is.")],
    address: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where Ray's head listens.")],
    node: Annotated[
        str | None, typer.Option("--node-id", metavar="ID", help="Of the node to drain; the one on this machine.")
    ] = None,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two questions.")] = 5,
    metadata: Annotated[str, typer.Option(metavar="URL", help="Where the provider's metadata service is.")] = METADATA,
) -> None:
    """Wait for the warning that a spot machine gets before it is taken back, and drain its node."""
    from functools import partial

    from tuner.services.spot_notice import drain_node, watch

    watch(provider, metadata, every, partial(drain_node, address, node), lambda text: print_line(text, on_stderr=True))


def _show(found: "list[ProgramStatus]", state: "State", as_json: bool) -> None:
    from dataclasses import asdict

    from tuner.durations import duration

    if as_json:
        print_json(
            {
                "programs": [asdict(program) for program in found],
                "state": str(state.folder),
                "client_env": str(state.client_env),
            }
        )
        return
    for program in found:
        since = "" if program.running_s is None else f" for {duration(program.running_s)}"
        silent = ", but does not answer" if program.answers is False else ""
        print_line(f"{program.name:10}{program.state.lower()}{since}{silent}  {program.where}".rstrip())
    print_line(f"what a search needs to use them: {state.client_env}")
