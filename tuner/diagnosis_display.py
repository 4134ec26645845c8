"""What a diagnosis shows: the numbers of every layer and stage, and the findings, the cause first."""

from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.markup import escape
from rich.table import Table

from data.audit.rules import Severity
from model.diagnosis.diagnose import Diagnosis
from model.diagnosis.findings import Finding
from tuner.output import plain_console

TOLD = 3  # layers told under one cause; --json tells all
COLOURS = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """The diagnosis as JSON values."""
    signs = asdict(diagnosis.signs)
    for part in (signs["learning"], signs["results"]):
        if part is not None:
            part.pop("rates")  # they are among the layers
    signs["results"].pop("silent")
    first = diagnosis.findings[0].cause if diagnosis.findings else None
    found = [{**asdict(finding), "remedy": finding.remedy} for finding in diagnosis.findings]
    return {"healthy": not diagnosis.failed, "cause": first, "findings": found, "measured": signs}


def show(diagnosis: Diagnosis) -> None:
    """Print the diagnosis for people."""
    console = plain_console()
    console.print(_layers(diagnosis))
    for line in _numbers(diagnosis):
        console.print(line, markup=False, soft_wrap=True)
    for (severity, cause), group in groupby(diagnosis.findings, key=lambda finding: (finding.severity, finding.cause)):
        console.print(f"\n[{COLOURS[severity]}]{severity} {cause}[/]")
        for line in _told(list(group)):
            console.print(escape(line), soft_wrap=True)
    console.print(f"\n{diagnosis.line()}", markup=False, soft_wrap=True)


def _layers(diagnosis: Diagnosis) -> Table:
    signs = diagnosis.signs
    at_fault = {finding.where for finding in diagnosis.findings}
    gradients = {} if signs.learning is None else signs.learning.gradients
    table = Table(title="neuron layers, and the gradient of their stage", title_justify="left", title_style="")
    table.add_column("layer", overflow="fold")
    for column in ("spikes a step", "in training", "channels silent", "gradient"):
        table.add_column(column, justify="right")
    for layer in signs.layers:
        stage = next((stage for stage in gradients if layer.name.startswith(f"{stage}.")), "")
        table.add_row(
            escape(layer.name),
            f"{layer.rate:.4f}",
            "" if layer.training_rate is None else f"{layer.training_rate:.4f}",
            f"{layer.silent:.0%}",
            f"{gradients[stage]:.3g}" if stage else "",
            style="bold red" if at_fault & {layer.name, stage} else None,
        )
    return table


def _numbers(diagnosis: Diagnosis) -> list[str]:
    signs, results, learning = diagnosis.signs, diagnosis.signs.results, diagnosis.signs.learning
    lines = [f"weights: moved by {signs.moved:.3g} of their length in {signs.epoch} epochs"]
    if learning is not None:
        lines.append(
            f"training batches: {learning.labelled:.0%} of {learning.images:,} images labelled, "
            f"{learning.boxes:,} boxes; "
            f"{learning.positives_an_image:.3g} positives an image, {learning.positives_a_box:.3g} a box"
        )
        lines.append("gradients: " + ", ".join(f"{name} {value:.3g}" for name, value in learning.gradients.items()))
    lines.append(
        f"{results.windows} windows of {signs.split}: {results.met_share:.0%} of {results.truth:,} true boxes met; "
        f"beside (0, 0) lie {results.found_at_origin:.0%} of the best predictions, "
        f"{results.truth_at_origin:.0%} of the truth"
    )
    lines.append(
        f"all of {signs.split}: {results.filtered:,} of {results.boxes:,} true boxes below the evaluation's filter"
    )
    return lines


def _told(findings: list[Finding]) -> list[str]:
    lines = [f"  {finding.where}: {finding.what}" for finding in findings[:TOLD]]
    if len(findings) > TOLD:
        lines.append(f"  and {len(findings) - TOLD} more; --json tells all")
    return [*lines, f"  -> {findings[0].remedy}"]
