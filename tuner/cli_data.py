"""Commands that make datasets."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.output import print_line

if TYPE_CHECKING:
    from data.manifest import Manifest, ShardEntry


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
    from data.simulator.traffic import TrafficConfig
    from data.simulator.traffic import simulate as write_recordings

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
    source: Annotated[str, typer.Argument(help="Folder or URL of recordings.")],
    dataset: Annotated[str, typer.Argument(help="Folder or URL to write the dataset into.")],
    labels: Annotated[
        str | None, typer.Option(help="Label set, where the layout does not tell: a name as etram3, or a YAML file.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Of recordings that lie in no split folder: train, val, test, or shares 8:1:1.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Sensor of recordings that do not name it: WIDTHxHEIGHT in pixels.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(help="Recordings read side by side; as many as there are processors, at most 8.")
    ] = None,
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Leave damaged recordings out, and record why.")
    ] = False,
    rebuild: Annotated[
        list[str] | None, typer.Option(help="SPLIT/NAME of a shard to make again, and nothing else; may be repeated.")
    ] = None,
) -> None:
    """Turn recordings into a dataset to train on; run again, it goes on, and adds what is new."""
    from data.ingest.ingest import IngestOptions
    from data.ingest.ingest import ingest as convert
    from tuner.ingest_display import IngestDisplay

    options = IngestOptions(labels, split, size, processes, skip_damaged, tuple(rebuild or ()))
    with IngestDisplay(sys.stdout) as display:
        manifest = convert(source, dataset, options, display)
    for line in _summary(manifest, dataset):
        print_line(line)
    print_line(f"next: spiketune search search_spaces/quickstart.yaml --data {dataset}")


def _summary(manifest: "Manifest", dataset: str) -> list[str]:
    """What a dataset holds, and what had to be mended or left out of it."""
    counts = {split: sum(entry.split == split for entry in manifest.recordings) for split in ("train", "val", "test")}
    events = sum(entry.events for entry in manifest.recordings)
    boxes = sum(entry.boxes for entry in manifest.recordings)
    splits = ", ".join(f"{count} {split}" for split, count in counts.items() if count)
    lines = [
        f"{len(manifest.recordings)} recordings ({splits}), {events:,} events, {boxes:,} boxes in {dataset}; "
        f"classes: {', '.join(manifest.label_set.classes)}"
    ]
    for entry in manifest.recordings:
        lines += [f"  {entry.name}: {repair}" for repair in _repairs(entry)]
    unmerged = sum(entry.boxes_left_out for entry in manifest.recordings)
    if unmerged:
        lines.append(f"{unmerged:,} boxes of classes that the dataset has not were left out")
    lines += [f"left out {out.split}/{out.name}: {out.reason}" for out in manifest.left_out]
    return lines


def _repairs(entry: "ShardEntry") -> list[str]:
    repairs = entry.repairs
    flipped = f" ({repairs.bit15:,} by a flipped bit 15)" if repairs.bit15 else ""
    told = {
        f"events outside the sensor dropped{flipped}": repairs.out_of_frame,
        "events whose time ran backwards raised to the time before": repairs.backward_times,
        "boxes cut to the frame": entry.boxes_clipped,
        "boxes outside the frame dropped": entry.boxes_dropped,
    }
    return [f"{count:,} {what}" for what, count in told.items() if count]
