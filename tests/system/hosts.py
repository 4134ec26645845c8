"""Hosts on one machine: each a set of namespaces with its own address, processes, home, disks and sshd.

`h1`, `h2` and `h3` are a cluster's hosts, `client` is the laptop it is ruled from, `intruder` is in the same network
and has nothing of theirs. A bridge joins them, and no route leads outside. All are child processes that the kernel
kills with the test: nothing has a name on this machine that could stay behind.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.system.servers import until

ROOT = Path(__file__).parent.parent.parent
HERE = Path(__file__).parent
OWNER, OWNER_ID = "spike", 4711
HOME = Path("/home", OWNER)
SHARED = Path("/srv/shared")  # where every host sees the folder that is `Hosts.shared` here
HEAD, WORKERS = "h1", ("h2", "h3")
CLUSTER = (HEAD, *WORKERS)
ADDRESS = {"client": "10.77.0.1", "h1": "10.77.0.11", "h2": "10.77.0.12", "h3": "10.77.0.13", "intruder": "10.77.0.66"}
PROGRAMS = {
    "unshare": "util-linux", "nsenter": "util-linux", "setpriv": "util-linux", "ip": "iproute2", "ss": "iproute2",
    "sshd": "openssh-server", "ssh": "openssh-client", "ssh-keygen": "openssh-client", "rsync": "rsync",
}  # fmt: skip
# Every process on two cores: Ray's workers ask for lower priority and libraries for more threads than they shall have.
QUIET = {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
_NEW = ("unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc")
_TRY = (
    "mount -t tmpfs tmpfs /mnt && ip link add name try type bridge && ip link add name veth type veth && hostname try"
)


def why_not() -> str | None:
    """What this machine lacks for hosts, None where they can be made. Tries it."""
    if os.geteuid() != 0:
        return "hosts in network namespaces need root"
    places = f"{os.environ.get('PATH', '')}:{_PATH}"
    missing = sorted({package for name, package in PROGRAMS.items() if not shutil.which(name, path=places)})
    if missing:
        return f"hosts in network namespaces need {', '.join(missing)} (names of Debian's packages)"
    tried = subprocess.run([*_NEW, "sh", "-c", _TRY], capture_output=True, text=True, check=False)
    return f"network namespaces are not permitted here: {tried.stderr.strip()}" if tried.returncode else None


class Machine:
    """One of them: its disk is a folder that outlives its power."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.address, self.disk = name, ADDRESS[name], folder / name
        self.home = self.disk / "home"
        self._process: subprocess.Popen[bytes] | None = None
        shutil.copytree("/etc/skel", self.home)  # what a new user's home has
        self.home.chmod(0o700)
        for path in (self.home, *self.home.rglob("*")):
            os.chown(path, OWNER_ID, OWNER_ID)

    def start(self, environment: dict[str, str]) -> None:
        own = {"NAME": self.name, "ADDRESS": self.address, "DISK": str(self.disk)}
        own["KIND"] = "host" if self.name in CLUSTER else "guest"
        with (self.disk / "boot.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_DIES_WITH_US, *_NEW, "bash", str(HERE / "host.sh")],
                env={"PATH": _PATH} | environment | own, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
            )  # fmt: skip
        until(lambda: psutil.Process(self._process.pid if self._process else 0).children() != [], 10)

    @property
    def on(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def init(self) -> psutil.Process:
        """Its process 1, seen from here."""
        assert self._process is not None, f"{self.name} is off"
        assert self.on, f"{self.name} went off by itself: {(self.disk / 'boot.log').read_text()}"
        return psutil.Process(self._process.pid).children()[0]

    def await_ready(self) -> None:
        until(lambda: Path("/proc", str(self.init.pid), "root", "run", "ready").exists(), 30)

    def power_off(self) -> None:
        """Every process at once, as the kernel does when a namespace's process 1 dies."""
        if self._process is not None:
            if self.on:
                self.init.kill()
            self._process.wait(30)
            self._process = None

    def processes(self) -> list[psutil.Process]:
        """All that run on it but for its process 1 and sshd's."""
        space = _namespace(self.init.pid, "pid")
        return [process for process in psutil.process_iter() if _belongs(process, space)]

    def command(self, command: str, environment: dict[str, str]) -> list[str]:
        """What runs a line of bash on it, as its owner and at home."""
        spaces = ["--mount", "--uts", "--ipc", "--net", "--pid"]
        enter = [
            "nsenter",
            "--target",
            str(self.init.pid),
            *spaces,
            "--setuid",
            str(OWNER_ID),
            "--setgid",
            str(OWNER_ID),
        ]
        path = _PATH if self.name in CLUSTER else f"{Path(sys.prefix, 'bin')}:{_PATH}"
        settings = {"HOME": str(HOME), "USER": OWNER, "LANG": "C.UTF-8", "PATH": path, **QUIET, **environment}
        pairs = [f"{name}={value}" for name, value in settings.items()]
        return [*enter, "--", "env", "-i", *pairs, "bash", "-c", f"cd ~ && {command}"]


def _namespace(process: int, kind: str) -> Path:
    return Path(f"/proc/{process}/ns/{kind}").readlink()


def _belongs(process: psutil.Process, space: Path) -> bool:
    try:
        return (
            _namespace(process.pid, "pid") == space
            and process.status() != psutil.STATUS_ZOMBIE
            and process.name() not in ("sshd", "sleep")
            and str(HERE / "host.sh") not in process.cmdline()
        )
    except (psutil.Error, OSError):
        return False  # it has just ended


class Hosts:
    """All machines and the bridge between them; `story` says what befell whom when."""

    def __init__(self, folder: Path) -> None:
        self.shared = folder / "shared"
        self.story: list[str] = []
        self._began = time.monotonic()
        self._keys = folder / "keys"
        self.shared.mkdir(parents=True)
        os.chown(self.shared, OWNER_ID, OWNER_ID)
        self._keys.mkdir(mode=0o700)
        for name in ("host", "id_ed25519"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._keys / name], check=True)
        self.machines = {name: Machine(name, folder) for name in ADDRESS}
        self._hand_out_keys()
        self._bridge = subprocess.Popen([*_DIES_WITH_US, "unshare", "--net", "sleep", "infinity"])
        until(lambda: _namespace(self._bridge.pid, "net") != _namespace(os.getpid(), "net"), 10)
        self._ip("link", "add", "bridge", "type", "bridge")
        self._ip("link", "set", "bridge", "up")

    def tell(self, what: str) -> None:
        self.story.append(f"{time.monotonic() - self._began:7.1f} s  {what}")
        sys.stdout.write(self.story[-1] + "\n")

    def start(self, *names: str) -> None:
        """Switch on, and wait until they can be reached."""
        environment = {
            "OWNER": OWNER, "OWNER_ID": str(OWNER_ID), "SHARED": str(self.shared), "CHECKOUT": str(ROOT),
            "VENV": sys.prefix, "PYTHON_HOME": sys.base_prefix, "HOST_KEY": str(self._keys / "host"),
            "HOSTS_FILE": "127.0.0.1 localhost\n" + "\n".join(f"{where} {name}" for name, where in ADDRESS.items()),
            "SET_ENV": " ".join(f"{name}={value}" for name, value in QUIET.items()),
        }  # fmt: skip
        for name in names:
            machine = self.machines[name]
            assert not machine.on, f"{name} is on"
            machine.start(environment)
            self._plug_in(machine)
        for name in names:
            self.machines[name].await_ready()
        self.tell(f"{', '.join(names)} on")

    def power_off(self, name: str) -> None:
        """Kill its processes; its link goes first, so that none can say goodbye."""
        self._ip("link", "delete", name)
        self.machines[name].power_off()
        self.tell(f"{name}: power off")

    def cut(self, name: str) -> None:
        """Pull its cable."""
        self._ip("link", "set", name, "down")
        self.tell(f"{name}: link cut")

    def join(self, name: str) -> None:
        """Put its cable back."""
        self._ip("link", "set", name, "up")
        self.tell(f"{name}: link back")

    def run(
        self, name: str, command: str, *, check: bool = True, patience_s: float = 300, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a line of bash there and wait for it.

        Raises:
            AssertionError: it failed, unless `check` is False.
        """
        done = subprocess.run(
            self.machines[name].command(command, environment),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patience_s, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{name}$ {command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done

    def popen(self, name: str, command: str, **environment: str) -> "subprocess.Popen[bytes]":
        """Begin a line of bash there that goes on until it is killed, or the machine is off."""
        silent = subprocess.DEVNULL
        return subprocess.Popen(
            self.machines[name].command(command, environment), stdin=silent, stdout=silent, stderr=silent
        )

    def end(self, process: "subprocess.Popen[bytes]") -> None:
        """Kill what `popen` began; what entered the machine's namespaces is a child of that."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        process.kill()
        process.wait(30)

    def python(self, name: str, program: str, **environment: Any) -> subprocess.CompletedProcess[str]:
        """Run a Python program there; whether it succeeds is for the caller to judge."""
        return self.run(name, f"python -c {shlex.quote(program)}", check=False, **environment)

    def listening(self, name: str) -> set[tuple[str, int]]:
        """Address and port of every socket that listens there, sshd's apart."""
        lines = self.run(name, "ss --tcp --listening --numeric --no-header").stdout.splitlines()
        places = [line.split()[3].rsplit(":", 1) for line in lines]
        return {(address.split("%")[0], int(port)) for address, port in places} - {(ADDRESS[name], 22)}

    def collect_logs(self, target: Path) -> None:
        """Copy what Ray, the services and the boot of every machine wrote."""
        for name, machine in self.machines.items():
            (target / name).mkdir(parents=True, exist_ok=True)
            for log in (*machine.disk.glob("*.log"), *machine.disk.glob("tmp/ray/session_2*/logs/*.*")):
                if log.is_file():
                    shutil.copy(log, target / name / log.name)

    def close(self) -> None:
        for machine in self.machines.values():
            machine.power_off()
        self._bridge.kill()
        self._bridge.wait(30)

    def _hand_out_keys(self) -> None:
        """The client may enter every host by ssh, and everybody knows the hosts' key."""
        known = (self._keys / "host.pub").read_text()
        for name, machine in self.machines.items():
            files = {"known_hosts": "".join(f"{host},{ADDRESS[host]} {known}" for host in CLUSTER)}
            if name == "client":
                files["id_ed25519"] = (self._keys / "id_ed25519").read_text()
            if name in CLUSTER:
                files["authorized_keys"] = (self._keys / "id_ed25519.pub").read_text()
            folder = machine.home / ".ssh"
            folder.mkdir(mode=0o700)
            os.chown(folder, OWNER_ID, OWNER_ID)
            for file, text in files.items():
                (folder / file).write_text(text)
                (folder / file).chmod(0o600)
                os.chown(folder / file, OWNER_ID, OWNER_ID)

    def _plug_in(self, machine: Machine) -> None:
        name, inside = machine.name, str(machine.init.pid)
        # Always the same card: its neighbours remember which one an address belonged to.
        card = ("address", f"02:00:00:00:00:{int(machine.address.rsplit('.', 1)[1]):02x}")
        self._ip("link", "add", name, "type", "veth", "peer", "name", "eth0", *card, "netns", inside)
        self._ip("link", "set", name, "master", "bridge", "up")
        for words in (("link", "set", "eth0", "up"), ("addr", "add", f"{machine.address}/24", "dev", "eth0")):
            subprocess.run(["nsenter", "--target", inside, "--net", "ip", *words], check=True)

    def _ip(self, *words: str) -> None:
        subprocess.run(["nsenter", "--target", str(self._bridge.pid), "--net", "ip", *words], check=True)


@contextmanager
def hosts(folder: Path) -> Iterator[Hosts]:
    """Machines that are on, and gone afterwards with their disks; the test is skipped where there can be none."""
    if reason := why_not():
        pytest.skip(reason)
    machines = Hosts(folder)
    try:
        machines.start(*ADDRESS)
        yield machines
    finally:
        machines.close()
        shutil.rmtree(folder, ignore_errors=True)
