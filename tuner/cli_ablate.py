"""The command that measures what each improvement is worth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli_model import INTERRUPT_EXIT, DataOption, JsonOption
from tuner.output import plain_console, print_json, print_line

if TYPE_CHECKING:
    from tuner.ablation.run import AblationResult


def ablate(
    spec: Annotated[Path, typer.Argument(help="An ablation, such as search_spaces/ablation_cspnet.yaml.")],
    data: DataOption,
    out: Annotated[Path | None, typer.Option(help="Folder to write; runs/NAME-TIME if not given.")] = None,
    variant: Annotated[str | None, typer.Option(help="One of the spec's variants, such as small.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Trainings a configuration, instead of the spec's.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the ablation in --out, or the newest of this spec; else begin.")
    ] = False,
    csv: Annotated[Path | None, typer.Option(help="Write all numbers of all tables there, too.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what each improvement of a training brings, with intervals and significance."""
    from tuner.ablation.compiling import compiled
    from tuner.ablation.loading import load_ablation

    loaded = load_ablation(spec, variant, seeds)
    compiled(loaded)  # every configuration is checked before Ray and MLflow, which take seconds to import
    from tuner.ablation.run import run_ablation
    from tuner.ablation.writing import write_csv

    result = run_ablation(loaded, data, out, resume=resume, progress_on_stderr=as_json)
    if csv is not None:
        write_csv(result.tables, csv)
    if as_json:
        print_json(result.as_dict())
    else:
        _show(result)
    if result.interrupted:
        again = "".join(f" --{name} {value}" for name, value in (("variant", variant), ("seeds", seeds)) if value)
        told = f"interrupted; go on with: spiketune ablate {spec} --data {data}{again} --out {result.folder} --resume"
        print_line(told, on_stderr=True)
        raise typer.Exit(INTERRUPT_EXIT)


def _show(result: "AblationResult") -> None:
    from rich.table import Table

    from tuner.ablation.cells import TITLES, cells, header

    console, columns = plain_console(), result.ablation.file.columns
    for table in result.tables:
        shown = Table(title=TITLES[table.design])
        for head in header(table, columns, result.ablation.objective.metric):
            shown.add_column(head)
        for row in cells(table, columns):
            shown.add_row(*row)
        console.print(shown)
    console.print(f"tables, numbers and a picture: {result.folder}", markup=False, soft_wrap=True)
