"""A Ray cluster on this machine as a process of its own, for Ray reads its settings once in a process.

`python -m tests.system.ray_cluster` takes orders on stdin, a line of JSON each, and ends the cluster with its input.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.system.servers import free_port

ROOT = Path(__file__).parent.parent.parent
HELPERS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
_MARK = "done: "


class RayCluster:
    """Where it is, and what can be done to it."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process, self._log = process, log
        self.address = ""

    def add(self, **node: Any) -> None:
        """Add a node, with the arguments of ray.cluster_utils; the first is the head."""
        # With ports of their own Ray does not give up a node whose helpers take more than 15 s to tell theirs.
        self.address = self._order({"do": "add", "node": {name: free_port() for name in HELPERS} | node})

    def freeze(self) -> None:
        """Stop the raylet of the node that was added last, as a machine that hangs."""
        self._order({"do": "freeze"})

    def _order(self, order: dict[str, Any]) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(_MARK):
                return line.removeprefix(_MARK).strip()
        raise AssertionError(self._log.read_text()[-3000:])


@contextmanager
def ray_cluster(folder: Path, **environment: str) -> Iterator[RayCluster]:
    """Without nodes yet, and with nothing of the caller's clusters."""
    ours = {name: text for name, text in os.environ.items() if not name.startswith(("RAY_", "AWS_", "MLFLOW_"))}
    ours |= {"PYTHONPATH": str(ROOT), "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    log = folder / "cluster.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.system.ray_cluster"], cwd=folder, env=ours | environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
        try:
            yield RayCluster(process, log)
        finally:
            process.communicate(timeout=60)


def main() -> None:
    from ray._private.ray_constants import PROCESS_TYPE_RAYLET
    from ray.cluster_utils import Cluster

    cluster, nodes, frozen = Cluster(), [], []
    try:
        for line in sys.stdin:
            order = json.loads(line)
            if order["do"] == "add":
                nodes.append(cluster.add_node(**order["node"]))
            else:
                frozen.append(nodes[-1].all_processes[PROCESS_TYPE_RAYLET][0].process.pid)
                os.kill(frozen[-1], signal.SIGSTOP)
            sys.stdout.write(f"{_MARK}{cluster.address}\n")
            sys.stdout.flush()
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        cluster.shutdown()


if __name__ == "__main__":
    main()
