"""Commands on searches: run one, look at all of them."""

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli_model import INTERRUPT_EXIT, DataOption, JsonOption
from tuner.output import plain_console, print_json, print_line


def search(
    spec: Annotated[Path, typer.Argument(help="A search specification, such as search_spaces/quickstart.yaml.")],
    data: DataOption,
    out: Annotated[Path | None, typer.Option(help="Folder to write; runs/NAME-TIME if not given.")] = None,
    trials: Annotated[int | None, typer.Option(help="Trials in total, instead of the spec's.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the search in --out, or the newest of this spec; else begin.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Keep report.html in the folder while the search runs.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Search for the best configuration."""
    from tuner.display import show_result
    from tuner.spec.search_spec import load_spec

    loaded = load_spec(spec, trials)
    from tuner.halt import INTERRUPTED  # Ray and MLflow take seconds to import: only for a sound spec
    from tuner.search import run_search

    result = run_search(loaded, data, out, resume=resume, progress_on_stderr=as_json, report=report)
    if as_json:
        print_json(result.as_dict())
    else:
        show_result(plain_console(), result, data)
    if result.halted == INTERRUPTED:
        told = f"interrupted; go on with: spiketune search {spec} --data {data} --out {result.folder} --resume"
        print_line(told, on_stderr=True)
        raise typer.Exit(INTERRUPT_EXIT)


def ui(
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Of 127.0.0.1; 5000 if not given, with --cluster a free one."),
    ] = None,
    cluster: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of `ray up`: its head's MLflow and Ray, through ssh.")
    ] = None,
) -> None:
    """Show all searches in MLflow's pages: those of this machine, or of a cluster."""
    if cluster is not None:
        from tuner.head import read_head
        from tuner.tunnel import serve_tunnel

        raise typer.Exit(serve_tunnel(read_head(cluster), port, print_line))
    from tuner.server import PORT, serve

    raise typer.Exit(serve(port or PORT, print_line))
