"""The `spiketune` command: parsing and printing only. Everything heavy is imported where it is used."""

import logging
import sys

import typer

from data.errors import InputError, SpiketuneError
from tuner import (
    cli_ablate,
    cli_audit,
    cli_cache,
    cli_data,
    cli_detect,
    cli_diagnose,
    cli_doctor,
    cli_evaluate,
    cli_export,
    cli_jobs,
    cli_profile,
    cli_promote,
    cli_report,
    cli_results,
    cli_search,
    cli_services,
    cli_show,
    cli_submit_ingest,
    cli_sync,
    cli_train,
)

app = typer.Typer(
    help="Finds the best spiking object detector for an event camera.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # errors as one plain line
)
for _command in (
    cli_data.simulate,
    cli_data.ingest,
    cli_audit.audit,
    cli_train.train,
    cli_evaluate.evaluate,
    cli_detect.detect,
    cli_diagnose.diagnose,
    cli_profile.profile,
    cli_search.search,
    cli_results.status,
    cli_results.best,
    cli_results.trials,
    cli_results.explain,
    cli_report.report,
    cli_promote.promote,
    cli_search.ui,
    cli_doctor.doctor,
    cli_ablate.ablate,
    cli_sync.sync,
    cli_jobs.submit,
    cli_submit_ingest.submit_ingest,
    cli_jobs.jobs,
    cli_jobs.logs,
    cli_jobs.stop,
    cli_jobs.resume,
    cli_jobs.results,
    cli_jobs.keep_jobs,
):
    app.command()(_command)
app.command("export")(cli_export.export)
app.command("show")(cli_show.show)
app.command("data")(cli_show.data_summary)
app.command("cache")(cli_cache.cache)
app.add_typer(cli_services.services, name="services")
app.command("watch-spot")(cli_services.watch_spot)


def main() -> None:
    """Run a command. Exit code 0: done, 2: wrong input, 1: anything else, 130: interrupted."""
    # PyTorch says at each import that there is no Triton; without a GPU nobody misses it.
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
    try:
        app()
    except (SpiketuneError, OSError) as error:
        sys.stderr.write(f"spiketune: {error}\n")
        sys.exit(2 if isinstance(error, InputError) else 1)
