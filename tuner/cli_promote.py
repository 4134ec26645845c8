"""The command that makes a search's winner the registered model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli_model import INTERRUPT_EXIT, JsonOption
from tuner.output import print_json, print_line
from tuner.store import MODEL

if TYPE_CHECKING:
    from tuner.promotion.promote import Outcome


def promote(
    folder: Annotated[Path, typer.Argument(metavar="SEARCH_DIR", help="The folder a search wrote.")],
    trial: Annotated[int | None, typer.Option(help="Number of the trial. Default: the search's winner.")] = None,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train it anew with fresh seeds, until there are --seeds trainings.")
    ] = False,
    with_val: Annotated[
        bool, typer.Option("--with-val", help="Train on train and val; the last epoch's weights are kept.")
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings to compare by; the search's own repeats count.")] = 3,
    data: Annotated[str | None, typer.Option(help="Where the search's dataset lies now, if it was moved.")] = None,
    name: Annotated[str, typer.Option(help="Of the registered model.")] = MODEL,
    as_json: JsonOption = False,
) -> None:
    """Register a search's winner in MLflow as champion, if it beats the present one on test beyond noise.

    Its trainings with other seeds are each measured once on test: the search's own repeats (repeat: in its spec) and,
    with --retrain, new ones at the full budget. Without any, the search's own checkpoint is measured, which can become
    the first champion but beat none: one training shows no difference beyond noise.

    It becomes champion if there is none, or if Welch's one-sided t-test over the trainings' mAP on test says so at 5 %.
    Either way MLflow keeps a run of it. The same command can be given again at any time: it goes on where it was, looks
    at test no second time, and changes nothing where all is done.
    """
    from tuner.promotion.promote import Wish, promote
    from tuner.promotion.retraining import Interrupted

    wish = Wish(folder, trial, retrain, with_val, seeds, data, name, as_json)
    try:
        outcome = promote(wish, lambda line: print_line(line, on_stderr=as_json))
    except Interrupted as error:
        print_line(str(error), on_stderr=True)
        raise typer.Exit(INTERRUPT_EXIT) from None
    if as_json:
        print_json(outcome.as_dict())
    else:
        _print(outcome)


def _print(outcome: "Outcome") -> None:
    from tuner.promotion.card import compared
    from tuner.promotion.promote import ALREADY

    decision = outcome.decision
    told = outcome.as_dict()
    low_high = told["test_map_interval"]
    bounds = "" if low_high is None else f", 95 % interval {low_high[0]:.4f} to {low_high[1]:.4f}"
    values = ", ".join(f"{value:.4f}" for value in decision.values)
    print_line(f"trial {outcome.trial} of {outcome.search_id}: mAP on test {told['test_map']:.4f}{bounds} ({values})")
    if outcome.verdict == ALREADY:
        print_line(f"is champion of {decision.model} already (version {outcome.version}); nothing changed")
    else:
        print_line(compared(decision))
        if outcome.version is None:
            print_line(f"not better beyond noise: version {decision.champion} of {decision.model} stays champion")
        else:
            print_line(f"champion of {decision.model}: version {outcome.version}; models:/{decision.model}@champion")
    print_line(
        f"checkpoints measured on test so far: {outcome.looks_of_search} of this search, {outcome.looks_of_model} of "
        f"{decision.model}'s challengers; MLflow run {outcome.run_id}"
    )
