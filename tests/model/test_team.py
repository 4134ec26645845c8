"""Two real processes over gloo against one: the same numbers in double precision."""

import math
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer

from data.dataset import Dataset
from model.synchronised_norm import SynchronisedNorm, norms_together, synchronise_norms
from model.team import accumulating, alone, joined, parallel
from model.trial_config import TrialConfig
from tests.model import team_member
from tests.model.team_member import CPU, Normed

RANKS = 2
ROOT = Path(__file__).parents[2]
SMALL = {
    "data.time_steps": 2,
    "model.width": 0.5,
    "loss.track": 0.5,
    "training.compile": "off",
    "data.cache.mode": "off",
}


@pytest.fixture(scope="module")
def config() -> TrialConfig:
    return TrialConfig().with_leaves(SMALL, "")


@pytest.fixture(scope="module")
def team(config: TrialConfig, tiny_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each process of a team of two got."""
    folder = tmp_path_factory.mktemp("team")
    (folder / "config").write_bytes(pickle.dumps(config))
    command = [sys.executable, "-c", "from tests.model.team_member import main; main()"]
    more = [str(RANKS), str(folder / "config"), tiny_dataset.location, str(folder)]
    members = [
        subprocess.Popen([*command, str(rank), *more], cwd=ROOT, env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"})
        for rank in range(RANKS)
    ]
    try:
        assert [member.wait(180) for member in members] == [0] * RANKS
    finally:
        for member in members:
            member.kill()
            member.wait()
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(RANKS)]


@pytest.fixture(scope="module")
def one(config: TrialConfig, tiny_dataset: Dataset) -> dict[str, Any]:
    """What one process gets."""
    return team_member.everything(config, tiny_dataset, joined(CPU))


def close(ours: torch.Tensor, theirs: torch.Tensor, name: str = "") -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9, msg=lambda text: f"{name}: {text}")


def same_tensors(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert list(ours) == list(theirs)
    for name in ours:
        close(ours[name], theirs[name], name)


def test_a_team_has_the_loss_curve_of_one_process(team: list[dict[str, Any]], one: dict[str, Any]) -> None:
    curve: list[dict[str, float]] = one["trained"].terms
    assert len(curve) == team_member.BATCHES
    assert all(curve[0][name] > 0 for name in ("box", "cls", "dfl", "track"))
    for member in team:
        for ours, theirs in zip(member["trained"].terms, curve, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)


def test_a_team_ends_with_the_weights_and_the_norms_statistics_of_one_process(
    team: list[dict[str, Any]], one: dict[str, Any]
) -> None:
    for member in team:
        same_tensors(member["trained"].weights, one["trained"].weights)


def test_every_process_of_a_team_remembers_all_tracks(team: list[dict[str, Any]], one: dict[str, Any]) -> None:
    alone_memory = one["trained"].memory
    assert len(alone_memory) == team_member.BATCHES
    for member in team:
        for (vectors, tracks), (all_vectors, all_tracks) in zip(member["trained"].memory, alone_memory, strict=True):
            assert tracks.tolist() == all_tracks.tolist()
            close(vectors, all_vectors)


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, dict):
        return list(ours) == list(theirs) and all(same(ours[name], theirs[name]) for name in ours)
    if isinstance(ours, tuple | list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, np.ndarray):
        return np.array_equal(ours, theirs)
    return bool(ours == theirs)


@pytest.mark.parametrize(
    ("how", "windows"), [("windows", 18), ("few windows", 3), ("streamed", 18), ("streamed one recording", 1)]
)
def test_a_team_measures_exactly_what_one_process_measures(
    team: list[dict[str, Any]], one: dict[str, Any], how: str, windows: int
) -> None:
    assert len(one[how]) == windows
    assert sum(len(found["scores"]) for *_, found in one[how]) > windows
    for member in team:
        assert same(member[how], one[how])


def test_norms_of_a_team_see_the_joint_batch_whatever_each_process_has_of_it(
    team: list[dict[str, Any]], one: dict[str, Any]
) -> None:
    whole: Normed = one["normed"]
    parts: list[Normed] = [member["normed"] for member in team]
    close(torch.cat([part.pictures for part in parts], dim=1), whole.pictures)
    close(torch.cat([part.slope for part in parts], dim=1), whole.slope)
    for part in parts:
        # The mean over the processes of a sum over the rows of each.
        close(part.weight * RANKS, whole.weight)
        close(part.bias * RANKS, whole.bias)
        same_tensors(part.state, whole.state)


def test_what_a_team_exchanges_is_what_its_processes_gave(team: list[dict[str, Any]]) -> None:
    for rank, member in enumerate(team):
        got = member["exchanged"]
        assert got.pop("is_first") is (rank == 0)
        # Rows 1, 2 | 1, 2, 3: of the sum of squares each has its own gradient 2x, counted once for each process.
        assert got.pop("slope") == [[4.0, 8.0], [4.0, 8.0, 12.0]][rank]
        assert got == {
            "sum": [3.0, 20.0],
            "mean": 1.5,
            "mean_by_name": {"box": 1.0, "cls": math.inf},
            "gather": ["0a", "0b", "1a"],
            "agree": [False, True, True],
            "broadcast": {"from": 0},
            "rows": [1.0, 2.0, 1.0, 2.0, 3.0],
        }


def test_a_process_alone_gets_back_what_it_gave() -> None:
    team, values, detector = alone(CPU), torch.ones(2, requires_grad=True), torch.nn.Linear(1, 1)
    assert joined(CPU) == team
    assert team.is_first
    assert team.sum(values) is team.mean(values) is team.rows(values) is values
    assert (team.gather([1, 2]), team.broadcast("it"), team.agree(True), team.agree(False)) == (
        [1, 2],
        "it",
        True,
        False,
    )
    assert parallel(detector, team) is detector
    with accumulating(detector, True):
        pass


def test_a_synchronised_norm_is_the_norm_it_stands_in_for_unless_it_is_called_together() -> None:
    x = torch.randn(2, 3, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    plain, net = layer.BatchNorm2d(4, step_mode="m"), torch.nn.Sequential(layer.BatchNorm2d(4, step_mode="m"))
    weight, mean = net[0].weight, net[0].running_mean
    net[0].eval()
    synchronise_norms(net)
    norm = net[0]
    assert isinstance(norm, SynchronisedNorm)
    assert norm.weight is weight
    assert norm.running_mean is mean
    assert not norm.training
    assert list(norm.state_dict()) == list(plain.state_dict())
    synchronise_norms(net)
    assert net[0] is norm
    for training in (True, False):
        assert torch.equal(norm.train(training)(x), plain.train(training)(x))
    same_tensors(norm.state_dict(), plain.state_dict())
    with norms_together(net):  # measuring asks nobody
        assert torch.equal(net(x), plain(x))
        assert norm.together
    assert not norm.together
