"""How fast a training step, its loss, evaluation and suppression are, against named peers measured in the same run.

    pip install -e '.[dev,benchmarks]'
    python benchmarks/step.py [--rounds 11] [--json FILE]

Nano on one thread: 4 windows of 4 steps at 192x320, whose frames and labels are synthetic. Times are medians of rounds
in which the contenders take turns. A step is forward, loss, backward, clipping and the optimizer; half precision is
bfloat16 by autocast around the forward pass.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

# Beside this file lie some that share their names with packages: its folder must not be searched first.
sys.path[0] = str(Path(__file__).parent.parent)

import torch

from benchmarks import evaluating
from benchmarks.eager_ilif import at_rest, eager_ilif
from benchmarks.synthetic_batch import CLASSES, STEPS, batch
from benchmarks.table import Row, console, finish
from benchmarks.timing import medians
from data.representation import RepresentationConfig
from model.detector import DetectorConfig, SpikingDetector
from model.loss import DetectionLoss, LossConfig
from model.neuron_config import NeuronConfig, NeuronName
from model.optimizer import OptimizerConfig, make_optimizer

Step = Callable[[], None]
BATCHES = 8  # that take turns


def measure(rounds: int) -> list[Row]:
    console.print("training steps ...")
    ours, eager, twin = _detector(NeuronName.ILIF), eager_ilif(_detector(NeuronName.ILIF)), _detector(NeuronName.RELU)
    taken = medians(
        {
            "I-LIF bf16": _step(ours, torch.bfloat16),
            "I-LIF fp32": _step(_detector(NeuronName.ILIF), torch.float32),
            "SpikingJelly I-LIF eager fp32": _step(eager, torch.float32, before=lambda: at_rest(eager)),
            "ReLU bf16": _step(twin, torch.bfloat16),
            "loss": _loss(ours),
        },
        rounds,
    )
    milliseconds = {name: seconds * 1e3 for name, seconds in taken.items()}
    for name, value in milliseconds.items():
        console.print(f"  {name}: {value:.1f} ms")
    half = milliseconds["I-LIF bf16"]
    console.print("evaluation and suppression ...")
    return [
        _at_most("I-LIF bf16 step, ms, against SpikingJelly's eager I-LIF", half,
                 milliseconds["SpikingJelly I-LIF eager fp32"], 0.45),
        _at_most("I-LIF bf16 step, ms, against the ReLU twin, bf16", half, milliseconds["ReLU bf16"], 1.2),
        _at_most("assigner and loss, forward and backward, ms, share of a bf16 step", milliseconds["loss"], half, 0.03),
        *evaluating.measure(rounds),
    ]  # fmt: skip


def _detector(neuron: NeuronName) -> SpikingDetector:
    torch.manual_seed(0)
    config = DetectorConfig(neuron=NeuronConfig(name=neuron))
    return SpikingDetector(config, RepresentationConfig(), STEPS, CLASSES, compiled=neuron is NeuronName.ILIF).train()


def _step(detector: SpikingDetector, precision: torch.dtype, before: Step = lambda: None) -> Step:
    shown = [batch(seed) for seed in range(BATCHES)]
    loss = DetectionLoss(LossConfig())
    settings = OptimizerConfig()
    optimizer = make_optimizer(detector, settings, 4)

    def step() -> None:
        before()
        shown.append(shown.pop(0))
        with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
            predictions = detector(shown[0].frames_TBCHW)
        total = loss(predictions, shown[0]).total()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(detector.parameters(), settings.clip_norm or torch.inf)
        optimizer.step()

    return step


def _loss(detector: SpikingDetector) -> Step:
    """The loss alone, back to what the detector said; batch after batch, since it remembers those before."""
    shown = [batch(seed) for seed in range(BATCHES)]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        said = detector(shown[0].frames_TBCHW)
    leaves = {
        name: getattr(said, name).detach().clone().requires_grad_() for name in ("sides", "classes", "embeddings")
    }
    predictions = dataclasses.replace(said, **leaves)
    loss = DetectionLoss(LossConfig())

    def step() -> None:
        shown.append(shown.pop(0))
        torch.autograd.grad(loss(predictions, shown[0]).total(), list(leaves.values()))

    for _ in range(LossConfig().track_memory):  # until it remembers all it may
        step()
    return step


def _at_most(figure: str, ours: float, peer: float, most: float) -> Row:
    ratio = ours / peer
    return {"figure": figure, "ours": ours, "peer": peer, "ratio": ratio, "must": f"<= {most:g}",
            "holds": ratio <= most}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    finish(measure(arguments.rounds), arguments.json)


if __name__ == "__main__":
    main()
