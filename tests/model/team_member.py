"""A process of a team, beside the same work done by one process."""

import pickle
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from spikingjelly.activation_based import layer
from torch import distributed

from data.batches import Batch
from data.dataset import Dataset
from data.loading import LoadingPlan, TrainingLoader
from data.manifest import Split
from model.initial import initial_detector
from model.loss import DetectionLoss
from model.prediction import EvaluationWindows, Validation, WindowResult
from model.team import Team, accumulating, joined, parallel
from model.trial_config import TrialConfig

CPU = torch.device("cpu")
BATCH, BATCHES = 4, 8
STEPS = ((0,), (1,), (2, 3), (4,), (5,), (6, 7))  # the batches of each; two are one step in parts
SKIPPED = 4  # a step that comes to nothing after its forward pass
PICTURES = torch.linspace(-3, 5, 4 * 3 * 2 * 5, dtype=torch.float64).sin().view(1, 4, 3, 2, 5)  # [T, B, C, H, W]
SLOPES = torch.linspace(0, 9, PICTURES.numel(), dtype=torch.float64).cos().view(PICTURES.shape)
ROWS = (3, 1)  # of PICTURES in each process


@dataclass(frozen=True)
class Trained:
    """What a training came to."""

    terms: list[dict[str, float]]  # of each step's batches, one after the other
    weights: dict[str, torch.Tensor]
    memory: list[tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Normed:
    """What a batch norm made of some rows of PICTURES, and the gradients of the sum of it times SLOPES."""

    pictures: torch.Tensor
    slope: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    state: dict[str, torch.Tensor]


def batches(config: TrialConfig, dataset: Dataset) -> list[Batch]:
    """The batches of a training: in one the second half has no box, in another no row has one."""
    loading = LoadingPlan(BATCH, BATCH * BATCHES, 1, config.training.seed)
    made = list(TrainingLoader(dataset.shards(Split.TRAIN), config.data, loading).epoch(1))
    for place, kept in ((1, BATCH // 2), (4, 0)):
        there = made[place].targets[:, 0].long() % BATCH < kept
        made[place] = replace(made[place], targets=made[place].targets[there], tracks=made[place].tracks[there])
    return made


def train(config: TrialConfig, made: Sequence[Batch], team: Team, dataset: Dataset) -> Trained:
    """Some steps of SGD in double precision on this process's rows."""
    detector = initial_detector(config, dataset.label_set).double().train()
    net = parallel(detector, team)
    loss = DetectionLoss(config.loss, None, team)
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-3, momentum=0.9)
    share = BATCH // team.ranks
    terms: list[dict[str, float]] = []
    for number, places in enumerate(STEPS):
        optimizer.zero_grad(set_to_none=True)
        for place in places:
            part = made[place].rows(team.rank * share, (team.rank + 1) * share)
            with accumulating(net, place != places[-1]):
                said = loss(net(part.frames_TBCHW), part)
                terms.append(team.mean_by_name(said.as_dict()))
                if number != SKIPPED:
                    (said.total() / len(places)).backward()
        if number != SKIPPED:
            assert all(parameter.grad is not None for parameter in detector.parameters())
            optimizer.step()
    return Trained(terms, detector.state_dict(), loss.memory.state())


def evaluate(config: TrialConfig, dataset: Dataset, team: Team, streaming: bool, windows: int | None) -> list[Any]:
    """What an untrained detector finds, as plain values."""
    detector = initial_detector(config, dataset.label_set)
    with torch.no_grad():
        for branch in detector.head.category:
            branch.readout.bias.zero_()  # type: ignore[union-attr, operator]  # or nothing would be found
    measured = EvaluationWindows(
        dataset.shards(Split.VAL), config.data, Validation(windows=windows, streaming=streaming), team
    )
    return [_plain(result) for result in measured.predict(detector, CPU)]


def _plain(result: WindowResult) -> Any:
    return result.window, result.night, asdict(result.truth), asdict(result.found)


def norm(team: Team) -> Normed:
    """A batch norm over this process's rows; alone over all of them."""
    made = layer.BatchNorm2d(3, step_mode="m").double()
    with torch.no_grad():
        made.weight.copy_(torch.tensor([0.5, 2.0, -1.0]))
    net = parallel(torch.nn.Sequential(made), team)
    first = sum(ROWS[: team.rank])
    ours = slice(first, first + ROWS[team.rank]) if team.ranks > 1 else slice(None)
    pictures = PICTURES[:, ours].clone().requires_grad_()
    normed = net(pictures)
    (normed * SLOPES[:, ours]).sum().backward()
    (there,) = net.modules() if isinstance(net, layer.BatchNorm2d) else [m for m in net.modules() if hasattr(m, "eps")]
    assert pictures.grad is not None
    return Normed(normed.detach(), pictures.grad, there.weight.grad, there.bias.grad, there.state_dict())  # type: ignore[arg-type]


def exchange(team: Team) -> dict[str, Any]:
    """One of everything a team can be asked for."""
    own = torch.arange(1.0, 3.0 + team.rank, requires_grad=True)
    joint = team.rows(own)
    (joint**2).sum().backward()
    return {
        "is_first": team.is_first,
        "sum": team.sum(torch.tensor([1.0 + team.rank, 10.0])).tolist(),
        "mean": team.mean(torch.tensor(1.0 + team.rank)).item(),
        "mean_by_name": team.mean_by_name({"box": 2.0 * team.rank, "cls": torch.inf if team.rank else 0.0}),
        "gather": team.gather([f"{team.rank}{letter}" for letter in "ab"[: 2 - team.rank]]),
        "agree": [team.agree(False), team.agree(team.rank == 1), team.agree(True)],
        "broadcast": team.broadcast({"from": team.rank}),
        "rows": joint.tolist(),
        "slope": None if own.grad is None else own.grad.tolist(),
    }


def everything(config: TrialConfig, dataset: Dataset, team: Team) -> dict[str, Any]:
    """All that is compared."""
    return {
        "trained": train(config, batches(config, dataset), team, dataset),
        "windows": evaluate(config, dataset, team, streaming=False, windows=None),
        "few windows": evaluate(config, dataset, team, streaming=False, windows=3),
        "streamed": evaluate(config, dataset, team, streaming=True, windows=None),
        "streamed one recording": evaluate(config, dataset, team, streaming=True, windows=1),
        "normed": norm(team),
        "exchanged": exchange(team),
    }


def main() -> None:
    """Join the team, do everything, and leave what it came to; the arguments are RANK RANKS CONFIG DATASET FOLDER."""
    rank, ranks, config, dataset, folder = int(sys.argv[1]), int(sys.argv[2]), *map(Path, sys.argv[3:])
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", f"file://{folder / 'meeting'}", timedelta(seconds=120), rank=rank, world_size=ranks
    )
    done = everything(pickle.loads(config.read_bytes()), Dataset.open(str(dataset)), joined(CPU))
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(done))
    distributed.destroy_process_group()
