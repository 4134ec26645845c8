"""An ssh server on loopback that takes one key, and a cluster file whose head it is."""

import getpass
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import yaml

from tests.system.servers import answers, free_port, until

HEAD = "192.0.2.7"  # of no machine: the proxy leads elsewhere
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_PROXY = """\
import os, socket, sys, threading
there = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def up():
    while data := os.read(0, 65536):
        there.sendall(data)
threading.Thread(target=up, daemon=True).start()
while data := there.recv(65536):
    os.write(1, data)
"""


class SshServer:
    """The server, with what a client of it needs."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.folder = folder
        self.home = folder / "home"  # of who logs in
        self.cluster_file = folder / "cluster.yaml"
        self._process, self._port = process, port

    def write_cluster_file(self, key: str = "key") -> Path:
        """As for `ray up`; `key` is `key`, or `stranger`, which the server does not know."""
        proxy = f"{sys.executable} {self.folder / 'proxy.py'} {self._port}"
        config = {
            "cluster_name": "one",
            "provider": {"type": "local", "head_ip": HEAD, "worker_ips": []},
            "auth": {
                "ssh_user": getpass.getuser(),
                "ssh_private_key": str(self.folder / key),
                "ssh_proxy_command": proxy,
            },
        }
        self.cluster_file.write_text(yaml.safe_dump(config), encoding="utf-8")
        return self.cluster_file

    def cut(self) -> None:
        """End all connections, as a network that breaks."""
        for each in psutil.Process(self._process.pid).children(recursive=True):
            each.kill()


@contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    """A running one; the test is skipped where there is none."""
    sshd = shutil.which("sshd", path=_PATH)
    if sshd is None or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("sshd, ssh and ssh-keygen are not installed (Debian: openssh-server and openssh-client)")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it leaves its privileges
    (folder / "home").mkdir(parents=True)
    for name in ("host", "key", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "proxy.py").write_text(_PROXY, encoding="utf-8")
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host'}\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {folder / 'key.pub'}\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        f"KbdInteractiveAuthentication no\nSetEnv HOME={folder / 'home'}\n",
        encoding="utf-8",
    )
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen([sshd, "-D", "-e", "-f", str(folder / "sshd_config")], stdout=log, stderr=log)
    server = SshServer(folder, process, port)
    try:
        until(lambda: answers(port) or process.poll() is not None, 30)
        assert process.poll() is None, (folder / "sshd.log").read_text()
        yield server
    finally:
        server.cut()
        process.kill()
        process.wait()
