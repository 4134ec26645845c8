"""Commands on the jobs of a cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli_model import INTERRUPT_EXIT, JsonOption
from tuner.output import plain_console, print_json, print_line

if TYPE_CHECKING:
    from tuner.jobs.client import Client, Job, Submitted

AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="The cluster's job server; RAY_API_SERVER_ADDRESS or http://127.0.0.1:8265 if not given."
    ),
]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Its id, as `spiketune jobs` lists it.")]
EnvFileOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Lines KEY=VALUE for the job's driver and workers, shown nowhere; of mode 600."),
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Show what its driver says, and return when it is over.")]


def submit(
    spec: Annotated[Path, typer.Argument(help="A search specification, such as search_spaces/quickstart.yaml.")],
    data: Annotated[
        str, typer.Option("--data", help="Dataset as the cluster has it: a URL, or an absolute path all nodes see.")
    ],
    address: AddressOption = None,
    name: Annotated[str | None, typer.Option(help="Of this job alone; the spec's name if not given.")] = None,
    env_file: EnvFileOption = None,
    priority: Annotated[
        str | None, typer.Option(metavar="low|normal|high", help="Beside other searches, instead of the spec's.")
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time at most, instead of the spec's.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Trials in total, instead of the spec's.")] = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Send a search to a cluster; the same once more is the same job."""
    client = _client(address)
    sent = client.submit(
        spec,
        data,
        name=name,
        env_file=env_file,
        priority=priority,
        max_concurrent=max_concurrent,
        trials=trials,
    )
    show_submitted(client, sent, wait=wait, as_json=as_json)


def jobs(address: AddressOption = None, as_json: JsonOption = False) -> None:
    """List a cluster's jobs."""
    found = _client(address).jobs()
    if as_json:
        print_json({"jobs": [job.as_dict() for job in found]})
    else:
        from tuner.jobs_display import show_jobs

        show_jobs(plain_console(), found)


def logs(
    job: JobArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="What the present driver says, until it ends.")
    ] = False,
    trial: Annotated[
        int | None, typer.Option(min=0, help="Only what is about this trial, and what its workers failed with.")
    ] = None,
    address: AddressOption = None,
) -> None:
    """Show what a job's drivers have said."""
    from data.errors import InputError

    if follow and trial is not None:
        raise InputError("--follow: shows all that the driver says; drop it, or --trial")
    client = _client(address)
    if not follow:
        typer.echo(client.logs(job, trial), nl=False)
        return
    for lines in client.follow(job):
        typer.echo(lines, nl=False)


def stop(
    job: JobArgument,
    keep_best: Annotated[
        bool, typer.Option("--keep-best", help="Bring the best so far and the report home, into a folder JOB.")
    ] = False,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a job in order: its winner so far is written, and it can be resumed."""
    client = _client(address)
    ended = client.stop(job)
    files = client.fetch(job, Path(job)) if keep_best else []
    if as_json:
        print_json({**ended.as_dict(), "files": [str(path) for path in files]})
        return
    print_line(f"{job}: {ended.fate.value}")
    for path in files:
        print_line(f"  {path}")


def resume(job: JobArgument, address: AddressOption = None, as_json: JsonOption = False) -> None:
    """Go on with a job that was stopped, has failed or was lost."""
    found = _client(address).resume(job)
    if as_json:
        print_json(found.as_dict())
    else:
        print_line(f"{job}: attempt {found.record.attempt} is on its way")


def results(
    job: JobArgument,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Bring best.yaml, best.safetensors and report.html home.")
    ] = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a job has found, also while it runs."""
    client = _client(address)
    told = client.results(job)
    files = [] if out is None else client.fetch(job, out)
    if as_json:
        print_json({**told.values, "files": [str(path) for path in files]} if files else told.values)
        return
    typer.echo(told.text, nl=False)
    for path in files:
        print_line(f"written: {path}")


def keep_jobs(
    address: AddressOption = None,
    once: Annotated[bool, typer.Option("--once", help="Look once, and return.")] = False,
) -> None:
    """On a cluster's head: submit those jobs again whose driver was lost."""
    from tuner.jobs.keeper import keep
    from tuner.jobs.ray_jobs import job_address
    from tuner.jobs.record import Records

    keep(Records.here(), job_address(address), print_line, once=once)


def job_status(job: str, address: str | None, *, as_json: bool) -> None:
    """Show how a job of a cluster stands."""
    found = _client(address).status(job)
    if as_json:
        print_json(found.as_dict())
        return
    from tuner.jobs_display import show_job

    show_job(plain_console(), found)


def show_submitted(client: "Client", sent: "Submitted", *, wait: bool, as_json: bool) -> None:
    """Tell what became of a submission, and of its job where that is waited for."""
    told = (
        f"submitted {sent.job.id}" if sent.new else f"{sent.job.id} was submitted before and is {sent.job.fate.value}"
    )
    print_line(told, on_stderr=as_json)
    job = sent.job
    if wait:
        for lines in client.watch(job.id):
            typer.echo(lines, nl=False, err=as_json)
        job = client.status(job.id).job
    if as_json:
        print_json({**job.as_dict(), "new": sent.new})
    elif not wait:
        for command in ("status", "logs -f", "results"):
            verb, _, option = command.partition(" ")
            print_line(f"  spiketune {verb} {job.id} {option}".rstrip())
    _exit_as(job, wait)


def _client(address: str | None) -> "Client":
    from tuner.jobs.client import Client

    return Client(address)


def _exit_as(job: "Job", waited: bool) -> None:
    from tuner.jobs.fate import Fate

    if waited and job.fate is not Fate.FINISHED:
        print_line(f"{job.id}: {job.fate.value}{f': {job.record.why}' if job.record.why else ''}", on_stderr=True)
        raise typer.Exit(INTERRUPT_EXIT if job.fate is Fate.STOPPED else 1)
