"""The command that trains one detector."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data.errors import InputError
from data.storage import is_url
from tuner.cli_model import DataOption, DeviceOption, JsonOption
from tuner.output import new_folder, print_json, print_line

if TYPE_CHECKING:
    from model.training.presets import PresetName


def train(
    data: DataOption,
    out: Annotated[str, typer.Option(help="Folder for the checkpoints and all that tells of the run.")],
    config: Annotated[
        Path | None, typer.Option(help="YAML with leaves of the configuration; best.yaml is one.")
    ] = None,
    assignments: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, as in loss.box=5.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="quick, fast, accurate or debug; --config and --set go over it.")
    ] = None,
    init_from: Annotated[
        Path | None, typer.Option(help="Checkpoint whose weights are taken over where they fit.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out where it was interrupted.")
    ] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Write trace.json, and tell where the time went.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Of the CPU. Default: all; 1 with --preset debug.")] = None,
    log_level: Annotated[
        str, typer.Option(help="Of train.log: info or debug; debug shows it on stderr, too.")
    ] = "info",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Train one configuration."""
    import torch

    from data.dataset import Dataset
    from model.training.presets import ONE_THREAD, PRESETS
    from tuner.leaves import load_config
    from tuner.logs import LOG, level_named, logged
    from tuner.train_run import TrainRun

    level = level_named(log_level)
    name = _preset(preset)
    settings = load_config(config, assignments or [], {} if name is None else PRESETS[name])
    if resume and init_from is not None:
        raise InputError("--init-from: a resumed run goes on from its own weights; leave one of the two out")
    wanted = threads or (1 if name in ONE_THREAD else None)
    if wanted is not None:
        torch.set_num_threads(wanted)
    dataset = Dataset.open(data)
    if is_url(out):
        raise InputError(f"--out {out}: must be a folder of this machine")
    folder = _resumed(Path(out)) if resume else new_folder(Path(out))
    with _free_again(folder), logged(folder / LOG, level):
        run = TrainRun(settings, dataset, folder, device, profile, on_stderr=as_json)
        result = run.train(init_from, resume)
    run.tell(lambda line: print_line(line, on_stderr=as_json))
    if as_json:
        print_json(result)
        return
    print_line(f"best: epoch {result['epoch']:.0f}, mAP {result['map']:.4f}, mAP50 {result['map50']:.4f}")
    print_line(f"checkpoint: {result['checkpoint']}; next: spiketune evaluate {result['checkpoint']} --data {data}")


@contextmanager
def _free_again(folder: Path) -> Iterator[None]:
    """Leave the folder empty where a training could not begin, so that the same command can be given again, mended."""
    from tuner.logs import LOG

    try:
        yield
    except InputError:
        if [path.name for path in folder.iterdir()] == [LOG]:
            (folder / LOG).unlink()
        raise


def _resumed(folder: Path) -> Path:
    from model.training.run_folder import STATE

    if not (folder / STATE).is_file():
        raise InputError(
            f"--resume: {folder} is no folder of a run that has come to its first state, after an epoch or "
            "training.checkpoint.every_steps; leave --resume out to begin one, in a folder of its own"
        )
    return folder


def _preset(name: str | None) -> "PresetName | None":
    from model.training.presets import PresetName

    if name is not None and name not in list(PresetName):
        raise InputError(f"--preset {name}: must be one of {', '.join(PresetName)}")
    return None if name is None else PresetName(name)
