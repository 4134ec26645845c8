"""A cluster whose nodes come and go: trials of a lost node go on elsewhere, and a new node is used."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from tests.system.formula_search import LOG, ROOT, start_search, value
from tests.system.servers import until
from tests.tuner.tiny_dataset import make_dataset
from tuner.search_folder import read_identity
from tuner.study.history import read_trials
from tuner.study.record import TrialRecord, TrialState

pytestmark = pytest.mark.system

TRIALS, EPOCHS = 6, 12
SPEC = f"""\
name: nodes
base: {{loss.box: 1}}
space:
  loss.box: {{uniform: [2, 15]}}
sampler: {{name: random, seed: 5}}
scheduler: {{name: none}}
budget: {{trials: {TRIALS}, epochs: {EPOCHS}, money: 1000, prices: {{default: 3600}}}}
resources: {{max_concurrent: auto}}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A search on a head without processors and two nodes, of which one dies; later a third one comes."""
    home = tmp_path_factory.mktemp("nodes")
    (home / "spec.yaml").write_text(SPEC)
    make_dataset(home / "recordings", home / "dataset")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("PYTHONPATH", str(ROOT))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        try:
            doomed = cluster.add_node(num_cpus=1)
            cluster.add_node(num_cpus=1)
            run(home, cluster, doomed)
            yield home
        finally:
            cluster.shutdown()


def run(home: Path, cluster: Cluster, doomed: object) -> None:
    """Take a node away as soon as both train, and give another one back."""
    driver = start_search(home, home / "out", RAY_ADDRESS=cluster.address, RAY_AUTH_MODE="disabled")
    until(lambda: len({line.split()[2] for line in trained(home)}) >= 2 or driver.poll() is not None)
    assert driver.poll() is None, (home / "driver.log").read_text()[-3000:]
    cluster.remove_node(doomed, allow_graceful=False)
    (home / "lost").write_text(str(len(trained(home))))
    time.sleep(2)
    cluster.add_node(num_cpus=1)
    assert driver.wait(500) == 0, (home / "driver.log").read_text()[-3000:]


def trained(home: Path) -> list[str]:
    return (home / LOG).read_text().splitlines() if (home / LOG).exists() else []


@pytest.fixture(scope="module")
def records(home: Path) -> list[TrialRecord]:
    return read_trials(home / "out", read_identity(home / "out").search_id)[1]


def test_every_trial_is_completed_and_none_has_failed(records: list[TrialRecord]) -> None:
    assert [record.state for record in records] == [TrialState.COMPLETE] * TRIALS
    for record in records:
        box = float(record.config["loss.box"])
        assert record.curve == {epoch: (value(box, epoch),) for epoch in range(1, EPOCHS + 1)}


def test_the_lost_node_s_trial_went_on_from_its_last_epoch(home: Path, records: list[TrialRecord]) -> None:
    again = [record for record in records if record.legs > 1]
    assert again
    assert all(record.leg_from > 0 or record.legs == 2 for record in again)
    # Of what was trained, at most the epoch that was under way on the lost node was trained again.
    assert len(trained(home)) <= TRIALS * EPOCHS + 2


def test_the_node_that_came_was_used(home: Path) -> None:
    before = int((home / "lost").read_text())
    first = {line.split()[2] for line in trained(home)[:before]}
    later = {line.split()[2] for line in trained(home)[before:]}
    assert later - first


def test_time_on_nodes_is_paid_for(records: list[TrialRecord]) -> None:
    """The price is one a second of a node, and a trial has the one processor of its node."""
    for record in records:
        assert record.cost == pytest.approx(record.busy_s, rel=1e-3)
        assert record.cost > 0
