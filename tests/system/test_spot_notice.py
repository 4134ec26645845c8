"""A warning of the spot market reaches a real Ray: the node is drained, with its deadline."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray import _raylet
from ray.cluster_utils import Cluster

from tests.system.command import run
from tests.tuner.test_spot_notice import GOOGLE, PREEMPTED, metadata

pytestmark = pytest.mark.cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        try:
            yield cluster
        finally:
            cluster.shutdown()


def test_the_node_of_a_machine_that_is_taken_back_is_drained_until_then(cluster: Cluster, tmp_path: Path) -> None:
    worker = cluster.add_node(num_cpus=1)
    client: Any = vars(_raylet)["GcsClient"](address=cluster.address)
    assert client.get_draining_nodes() == {}
    with metadata(GOOGLE, {PREEMPTED: (200, "TRUE")}) as url:
        options = ("--address", cluster.address, "--node-id", worker.node_id, "--metadata", url)
        run(tmp_path, ("watch-spot", "gcp", *options), RAY_AUTH_MODE="disabled")
    ((node, deadline_ms),) = client.get_draining_nodes().items()
    assert node.hex() == worker.node_id
    assert 0 < deadline_ms / 1000 - time.time() <= 30  # what Google gives
