"""A Spiketune cluster on the machines of hosts.py, raised, used and ended as docs/cluster.md says."""

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from tests.system.hosts import ADDRESS, CLUSTER, HEAD, HOME, OWNER, ROOT, SHARED, WORKERS, Hosts
from tests.system.servers import until

# What a user writes at the places marked EDIT of cluster/onprem.yaml.
EDITS = {
    "head_ip: 192.168.1.10": f"head_ip: {ADDRESS[HEAD]}",
    "worker_ips: [192.168.1.11, 192.168.1.12]": f"worker_ips: [{', '.join(ADDRESS[name] for name in WORKERS)}]",
    "ssh_user: ubuntu": f"ssh_user: {OWNER}",
    "SPIKETUNE_SHARED=/shared": f"SPIKETUNE_SHARED={SHARED}",
}
UP: dict[str, Any] = {"RAY_AUTH_MODE": "token", "RAY_UP_enable_autoscaler_v2": "0"}
NAME_OF = {address: name for name, address in ADDRESS.items()}
JOBS = "http://127.0.0.1:8265"
PATIENCE_S = 900  # until Ray has noticed, started or ended something, on two busy cores
_NODES = """
import json, pathlib, urllib.request
token = pathlib.Path.home().joinpath(".ray/auth_token").read_text().strip()
ask = urllib.request.Request("http://127.0.0.1:8265/nodes?view=summary", headers={"Authorization": f"Bearer {token}"})
nodes = [node["raylet"] for node in json.load(urllib.request.urlopen(ask, timeout=30))["data"]["summary"]]
print(json.dumps([node["nodeManagerAddress"] for node in nodes if node.get("state") == "ALIVE"]))
"""
_SECRETS = "for file in ~/.ray/auth_token ~/spiketune-services/secrets/*; do cat $file; echo; done"


class Cluster:
    """Raised by `ray up` from the client, and spoken to through a tunnel."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts
        self.token = ""
        self._tunnel: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        """Everything that `ray up` starts, and the workers that the head starts then."""
        text = (ROOT / "cluster" / "onprem.yaml").read_text()
        for given, edited in EDITS.items():
            assert text.count(given) == 1, given
            text = text.replace(given, edited)
        (self.hosts.machines["client"].home / "cluster.yaml").write_text(text)
        self.token = self.hosts.run("client", "umask 077; ray get-auth-token --generate", **UP).stdout.strip()
        self.raise_again()
        self.await_nodes(*CLUSTER)
        self.hosts.run("client", f"umask 077; scp -q {OWNER}@{HEAD}:spiketune-services/client.env client.env")
        self.hosts.tell("cluster up: three nodes")

    def raise_again(self) -> None:
        """`ray up` once more, as after a restart of the head."""
        command = f"cd {ROOT} && ray up -y --no-config-cache ~/cluster.yaml"
        self.hosts.run("client", command, patience_s=PATIENCE_S, **UP)
        self.open_tunnel()

    def down(self) -> None:
        self.hosts.run("client", f"cd {ROOT} && ray down -y ~/cluster.yaml", **UP)
        self.hosts.tell("ray down")

    def open_tunnel(self) -> None:
        """The dashboard and job server of the head, on the client's loopback."""
        self.close()
        ssh = f"exec ssh -N -o ExitOnForwardFailure=yes -L 8265:127.0.0.1:8265 {OWNER}@{HEAD}"
        self._tunnel = self.hosts.popen("client", ssh)
        until(lambda: ("127.0.0.1", 8265) in self.hosts.listening("client"), 30)

    def on_head(self, command: str, **environment: Any) -> str:
        """A command as the cluster's user gives it on the head; what it prints."""
        return self.hosts.run(HEAD, f". ~/spiketune.env; {command}", **environment).stdout

    def spiketune(self, command: str, **environment: Any) -> Any:
        """A command of the client with `--json`; what it prints."""
        ask: dict[str, Any] = {"RAY_AUTH_MODE": "token", "RAY_API_SERVER_ADDRESS": JOBS}
        return json.loads(self.hosts.run("client", f"spiketune {command} --json", **ask, **environment).stdout)

    def nodes(self) -> set[str]:
        """The hosts with a living node; none while the head does not answer."""
        done = self.hosts.run(HEAD, f". ~/spiketune.env; python3 -c '{_NODES}'", check=False)
        return {NAME_OF[address] for address in json.loads(done.stdout)} if done.returncode == 0 else set()

    def await_nodes(self, *names: str) -> None:
        until(lambda: self.nodes() == set(names), PATIENCE_S)

    def secrets(self) -> list[str]:
        """The token, and every password of the services."""
        return [line for line in self.on_head(_SECRETS).split() if line]

    def command_lines(self, names: Sequence[str] = CLUSTER) -> list[str]:
        """Of every process of the hosts, as anybody there may read them."""
        return [" ".join(process.cmdline()) for name in names for process in self.hosts.machines[name].processes()]

    def close(self) -> None:
        """Let go of the tunnel."""
        if self._tunnel is not None:
            self.hosts.end(self._tunnel)
            self._tunnel = None


CLIENT_ENV = HOME / "client.env"
