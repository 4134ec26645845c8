"""What the services are told: the address they listen at, their ports, and where MLflow keeps files."""

import ipaddress
import json
import re
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from data.errors import InputError
from data.storage import is_url
from tuner.jobs.environment import SHARED, shared_folder
from tuner.loopback import why_taken
from tuner.services.state import State, check_plain, write_private

LOOPBACK = "127.0.0.1"
_HOST = re.compile(r"[A-Za-z0-9.:-]+")


@dataclass(frozen=True)
class Settings:
    """As checked."""

    address: str  # of this machine: loopback, or that of a private network
    name: str  # by which others call the machine; the address, where it has no other
    shared: str  # the folder every node sees
    artifacts: str  # a folder, or the URL of an object store
    mlflow_port: int
    database_port: int
    workers: int  # processes that answer MLflow's requests
    keep_jobs: bool

    @property
    def host(self) -> str:
        """The machine's name as it stands in a URL."""
        return f"[{self.name}]" if ":" in self.name else self.name

    @property
    def tracking_uri(self) -> str:
        """MLflow's."""
        return f"http://{self.host}:{self.mlflow_port}"


def plain_shared_folder() -> str:
    """The folder that every node sees, from the environment.

    Raises:
        InputError: none is named, it is not there, or cannot stand in supervisord's file.
    """
    given = str(shared_folder())
    check_plain(SHARED, given)
    return given


def check_name(name: str) -> None:
    """Raise an InputError unless it can be the name of a host, or an address."""
    if not _HOST.fullmatch(name):
        raise InputError(f"--name {name}: must be a host's name or address, of letters, digits, dots and - only")


def check_address(address: str, public: bool) -> None:
    """Refuse an address that strangers might reach, unless that is what is wanted.

    Raises:
        InputError: it is no address of this machine, or a public one.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        raise InputError(f"--address {address}: is no IP address; give that of this machine, as 10.0.0.5") from None
    if (parsed.is_unspecified or parsed.is_global) and not public:
        raise InputError(
            f"--address {address}: the world may reach it, and passwords cross the network unencrypted; "
            "give the address in a private network, or --public if a firewall stands before it"
        )
    if why_taken(0, address):
        raise InputError(f"--address {address}: this machine has no such address; `hostname -I` lists them")


def check_artifacts(location: str) -> None:
    """Raise an InputError for a URL that carries a password, or a path that cannot stand where it must."""
    if is_url(location):
        if urlsplit(location).password is not None:
            raise InputError("--artifacts: the URL carries a password; give it by the environment instead")
    elif not location.startswith("/"):
        raise InputError(f"--artifacts {location}: must be an absolute path, or a URL as s3://BUCKET/FOLDER")
    check_plain("--artifacts", location.replace("://", "/", 1))


def check_free(option: str, address: str, port: int) -> None:
    """Raise an InputError if something listens there already."""
    reason = why_taken(port, address)
    if reason:
        raise InputError(
            f"{option} {port}: cannot be used at {address} ({reason}); end what listens there, or choose another port"
        )


def save_settings(state: State, settings: Settings) -> None:
    """For the commands that come after."""
    write_private(state.settings, json.dumps(asdict(settings), indent=2) + "\n")


def read_settings(state: State) -> Settings:
    """What the services were last started with.

    Raises:
        InputError: they never were, here.
    """
    try:
        return Settings(**json.loads(state.settings.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"{state.folder}: no services were started here; `spiketune services start` does") from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{state.settings}: cannot be read ({error}); start the services again") from None
