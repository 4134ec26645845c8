"""The folder in which a head's services keep all they have: databases, passwords, logs, and what clients need."""

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError
from data.storage import whole_path

NAME = "spiketune-services"
_PLAIN = re.compile(r"[\w./@+=-]+", re.ASCII)  # supervisord's file and a shell both read such a name as it is
_SOCKET_BYTES = 90  # of the 107 that the address of a socket may have; supervisord makes it under a longer name


@dataclass(frozen=True)
class State:
    """Where everything lies."""

    folder: Path

    @property
    def configuration(self) -> Path:
        """What supervisord reads; there are passwords in it."""
        return self.folder / "supervisord.conf"

    @property
    def socket(self) -> Path:
        """By which supervisord is spoken to."""
        return self.folder / "supervisor.sock"

    @property
    def settings(self) -> Path:
        """What the services were last started with."""
        return self.folder / "settings.json"

    @property
    def logs(self) -> Path:
        """A file for each program."""
        return self.folder / "logs"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's own folder, which belongs to the user it runs as."""
        return self.folder / "postgres"

    @property
    def database(self) -> Path:
        """PostgreSQL's data."""
        return self.postgres / "data"

    @property
    def mlflow(self) -> Path:
        """Where MLflow's server runs."""
        return self.folder / "mlflow"

    @property
    def client_env(self) -> Path:
        """What a search's process needs in its environment to use the services."""
        return self.folder / "client.env"

    def user_env(self, name: str) -> Path:
        """The same for a user of its own."""
        return self.folder / "users" / f"{name}.env"

    def secret(self, name: str) -> str:
        """The password of this name, made when it is first asked for; 32 characters that are safe in a URL."""
        path = self.folder / "secrets" / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24))
        return path.read_text(encoding="utf-8")

    def make(self, group: int | None) -> None:
        """Make the folders; `group` is the one that may pass through to PostgreSQL's, where another user runs it."""
        for folder in (self.folder, self.folder / "secrets", self.folder / "users", self.logs, self.mlflow):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        if group is not None:
            os.chown(self.folder, -1, group)
            self.folder.chmod(0o710)


def state_at(folder: Path | None) -> State:
    """The services' state in this folder, or where they are unless another is named.

    Raises:
        InputError: the folder's name would not do.
    """
    path = (folder or default_folder()).expanduser().absolute()
    check_plain("--state", str(path))
    if len(os.fsencode(State(path).socket)) > _SOCKET_BYTES:
        raise InputError(f"--state {path}: is too long for the socket that lies in it; choose a shorter path")
    return State(path)


def default_folder() -> Path:
    """In the home of who asks; root's lies where the user that PostgreSQL runs as can reach it."""
    return Path("/var/lib") / NAME if os.geteuid() == 0 else Path.home() / NAME


def check_plain(name: str, value: str) -> None:
    """Raise an InputError unless a path can stand in supervisord's file and in a file of variables as it is."""
    if not _PLAIN.fullmatch(value):
        raise InputError(f"{name} {value}: must be letters of ASCII, digits and ./_@+=- only; choose another path")


def write_private(path: Path, text: str) -> None:
    """Write a text that only its owner may read, at no moment anybody else."""
    with whole_path(path) as partial:
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
