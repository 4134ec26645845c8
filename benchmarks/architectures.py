"""CSPNet's three ablations (arXiv 1911.11929) on our nets, as tables in Markdown.

    python benchmarks/architectures.py [--rounds 9]

1. Bottleneck balance: the dearest stage and the dearest convolution of a detector.
2. Memory traffic (CIO) of a backbone whose stages split their channels, against one whose stages do not.
3. Inference rate at batch 1 on one thread of a CPU; the nets take turns, and each is told by its median.

Detectors are nano, of I-LIF neurons and 8 classes, on windows of four steps of a 640x360 sensor; frames are synthetic
and weights untrained, on which neither MACs nor CIO depend.
"""

import argparse
import statistics
import sys
import time
from operator import itemgetter
from pathlib import Path

# The file beside this one shares its name with a package: this folder must not be searched first.
sys.path[0] = str(Path(__file__).parent.parent)

import torch

from model.detector import SpikingDetector
from model.profiling.operation_counts import count_operations
from model.profiling.profile import Profile, profile_detector
from model.profiling.untrained import synthetic_frames, untrained_detector
from model.trial_config import TrialConfig

NETS = (("dense", "pan"), ("dense", "prn"), ("csp", "efm"), ("csp", "pan"), ("plain", "pan"))
PRESETS = ("nano", "base", "large")
BALANCE_HEAD = [
    *("net", "M weights", "M MACs", "peak stage, M MACs", "/ mean stage"),
    *("without the head: peak stage", "", "peak convolution", ""),
]
CLASSES = 8
FRAME = (384, 640)  # rows and columns: 640x360, padded
IMAGE = (256, 256)  # what ImageNet backbones, such as the paper's, are compared at


def net(
    backbone: str, neck: str, preset: str, time_steps: int, size: tuple[int, int]
) -> tuple[SpikingDetector, torch.Tensor]:
    leaves = {"model.backbone": backbone, "model.neck": neck, "model.preset": preset, "data.time_steps": time_steps}
    config = TrialConfig().with_leaves(leaves, "the benchmark")
    frames_TBCHW = synthetic_frames(config.data.representation, time_steps, 1, *size, seed=0)
    return untrained_detector(config, CLASSES, frames_TBCHW), frames_TBCHW


def balance(profiles: dict[str, Profile]) -> list[list[str]]:
    """All nets share one head, so peaks are told of the whole net and of what differs: backbone and neck."""
    peaks = {name: (peak_stage(profile), peak_layer(profile)) for name, profile in profiles.items()}
    first_stage, first_layer = peaks["dense + pan"]
    return [
        [
            name,
            f"{profile.parameters / 1e6:.2f}",
            f"{profile.macs / 1e6:,.0f}",
            dearest(profile.peak_stage.name, profile.peak_stage.macs),
            f"{profile.balance:.2f}",
            dearest(*peaks[name][0]),
            change(peaks[name][0][1], first_stage[1]),
            dearest(*peaks[name][1]),
            change(peaks[name][1][1], first_layer[1]),
        ]
        for name, profile in profiles.items()
    ]


def peak_stage(profile: Profile) -> tuple[str, float]:
    return max(((stage.name, stage.macs) for stage in profile.stages if outside_head(stage.name)), key=itemgetter(1))


def peak_layer(profile: Profile) -> tuple[str, float]:
    return max(((layer.name, layer.macs) for layer in profile.layers if outside_head(layer.name)), key=itemgetter(1))


def outside_head(name: str) -> bool:
    return not name.startswith("head.")


def dearest(name: str, macs: float) -> str:
    return f"`{name}` {macs / 1e6:,.0f}"


def traffic(preset: str) -> list[list[str]]:
    """CIO and MACs of the backbone alone, for one image."""
    rows = []
    first: tuple[float, float] | None = None
    for backbone in ("plain", "csp", "dense"):
        detector, frames_TBCHW = net(backbone, "pan", preset, 1, IMAGE)
        layers = [
            layer
            for layer in count_operations(detector, frames_TBCHW).layers
            if layer.name.startswith("backbone.stages.")
        ]
        cio, macs = sum(layer.cio for layer in layers), sum(layer.macs for layer in layers)
        first = first or (cio, macs)
        weights = sum(parameter.numel() for parameter in detector.backbone.stages.parameters())
        rows.append(
            [preset, backbone, f"{weights / 1e6:.2f}", f"{cio / 1e6:.2f}", change(cio, first[0]), f"{macs / 1e6:,.0f}",
             change(macs, first[1])]
        )  # fmt: skip
    return rows


def rates(nets: dict[str, tuple[SpikingDetector, torch.Tensor]], rounds: int) -> list[list[str]]:
    """By the processor's seconds, which on one thread are those of the clock where nothing else runs."""
    torch.set_num_threads(1)
    taken: dict[str, list[float]] = {name: [] for name in nets}
    with torch.no_grad():
        for turn in range(rounds + 1):
            for name, (detector, frames_TBCHW) in nets.items():
                start = time.process_time()
                detector(frames_TBCHW)
                if turn:  # the first is the warm-up
                    taken[name].append(time.process_time() - start)
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    first = medians["dense + pan"]
    return [[name, f"{each * 1000:.0f}", f"{1 / each:.2f}", f"{first / each:.2f}"] for name, each in medians.items()]


def change(value: float, first: float) -> str:
    return "same" if value == first else f"{value / first - 1:+.0%}"


def show(title: str, head: list[str], rows: list[list[str]]) -> None:
    print(f"\n{title}\n")
    for line in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(line)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    nets = {f"{backbone} + {neck}": net(backbone, neck, "nano", 4, FRAME) for backbone, neck in NETS}
    show(
        "Bottleneck balance",
        BALANCE_HEAD,
        balance({name: profile_detector(*each) for name, each in nets.items()}),
    )
    show(
        "Memory traffic of the three stages of the backbone, for one image of 256x256",
        ["preset", "backbone", "M weights", "M CIO", "", "M MACs", ""],
        [row for preset in PRESETS for row in traffic(preset)],
    )
    show(
        "Inference rate, batch 1, one thread",
        ["net", "ms a frame", "frames/s", "against dense + pan"],
        rates(nets, arguments.rounds),
    )


if __name__ == "__main__":
    main()
