"""Commands that make datasets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.output import print_line

if TYPE_CHECKING:
    from data.ingest import IngestProgress
    from data.manifest import ShardEntry


def simulate(
    out: Annotated[Path, typer.Argument(help="Folder to write, in eTraM's layout.")],
    width: Annotated[int | None, typer.Option(help="Pixels.")] = None,
    height: Annotated[int | None, typer.Option(help="Pixels.")] = None,
    duration_s: Annotated[float | None, typer.Option(help="Seconds of each recording.")] = None,
    train: Annotated[int | None, typer.Option(help="Recordings to train on.")] = None,
    val: Annotated[int | None, typer.Option(help="Recordings to validate on.")] = None,
    test: Annotated[int | None, typer.Option(help="Recordings to test on.")] = None,
    density: Annotated[float | None, typer.Option(help="Travellers on screen, on average.")] = None,
    night_share: Annotated[float | None, typer.Option(help="Share of night recordings, 0 to 1.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
) -> None:
    """Write simulated recordings of an intersection."""
    from data.traffic import TrafficConfig
    from data.traffic import simulate as write_recordings

    options = {
        "width": width,
        "height": height,
        "duration_s": duration_s,
        "train": train,
        "val": val,
        "test": test,
        "density": density,
        "night_share": night_share,
        "seed": seed,
    }
    config = TrafficConfig.parse({name: value for name, value in options.items() if value is not None}, "simulate")
    write_recordings(out, config, lambda done, total, name: print_line(f"{done}/{total} {name}"))
    print_line(f"recordings in {out}; next: spiketune ingest {out} DATASET")


def ingest(
    source: Annotated[Path, typer.Argument(help="Folder of recordings.")],
    dataset: Annotated[Path, typer.Argument(help="Folder to write the dataset into.")],
    labels: Annotated[
        str | None, typer.Option(help="Label set, where the layout does not tell: etram3, etram8.")
    ] = None,
) -> None:
    """Turn recordings into a dataset to train on."""
    from data.ingest import ingest as convert

    manifest = convert(source, dataset, labels, _show_recording)
    events = sum(entry.events for entry in manifest.recordings)
    classes = ", ".join(manifest.label_set.classes)
    print_line(f"{len(manifest.recordings)} recordings, {events:,} events in {dataset}; classes: {classes}")
    for entry in manifest.recordings:
        for repair in _repairs(entry):
            print_line(f"  {entry.name}: {repair}")
    print_line(f"next: spiketune search search_spaces/quickstart.yaml --data {dataset}")


def _show_recording(progress: "IngestProgress") -> None:
    print_line(f"{progress.done}/{progress.total} {progress.name}: {progress.events:,} events")


def _repairs(entry: "ShardEntry") -> list[str]:
    repairs = entry.repairs
    told = {
        "events outside the sensor dropped": repairs.out_of_frame,
        "events whose time ran backwards raised to the time before": repairs.backward_times,
        "boxes cut to the frame": entry.boxes_clipped,
        "boxes outside the frame dropped": entry.boxes_dropped,
    }
    return [f"{count:,} {what}" for what, count in told.items() if count]
