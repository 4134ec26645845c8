"""Commands that make datasets."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tuner.output import print_line

LabelsOption = Annotated[
    str | None, typer.Option(help="Label set, where the layout does not tell: a name as etram3, or a YAML file.")
]
SplitRuleOption = Annotated[
    str | None, typer.Option(help="Of recordings that lie in no split folder: train, val, test, or shares 8:1:1.")
]
SizeOption = Annotated[
    str | None, typer.Option(help="Sensor of recordings that do not name it: WIDTHxHEIGHT in pixels.")
]
SkipDamagedOption = Annotated[
    bool, typer.Option("--skip-damaged", help="Leave damaged recordings out, and record why.")
]


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
    labels: LabelsOption = None,
    split: SplitRuleOption = None,
    size: SizeOption = None,
    processes: Annotated[
        int | None, typer.Option(help="Recordings read side by side; as many as there are processors, here at most 8.")
    ] = None,
    skip_damaged: SkipDamagedOption = False,
    rebuild: Annotated[
        list[str] | None, typer.Option(help="SPLIT/NAME of a shard to make again, and nothing else; may be repeated.")
    ] = None,
    on_cluster: Annotated[
        bool,
        typer.Option("--on-cluster", help="On the nodes of the cluster RAY_ADDRESS names, or that runs here."),
    ] = False,
) -> None:
    """Turn recordings into a dataset to train on; run again, it goes on, and adds what is new."""
    from data.ingest.ingest import IngestOptions
    from data.ingest.ingest import ingest as convert
    from tuner.ingest_display import IngestDisplay, summary

    options = IngestOptions(labels, split, size, processes, skip_damaged, tuple(rebuild or ()))
    with IngestDisplay(sys.stdout) as display:
        if on_cluster:
            from tuner.cluster_ingest import ingest_on_cluster, on_the_cluster

            with on_the_cluster():
                manifest = convert(source, dataset, options, display, ingest_on_cluster(processes))
        else:
            manifest = convert(source, dataset, options, display)
    for line in summary(manifest, dataset):
        print_line(line)
    print_line(f"next: spiketune search search_spaces/quickstart.yaml --data {dataset}")
