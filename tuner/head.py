"""A cluster's head as its cluster file describes it, and how one logs in to it."""

import os
import subprocess
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from data.errors import ConfigError

CONNECT_S = 10
_KNOWN_HOSTS = "~/.ray/spiketune_known_hosts"  # not the user's own, which heads that come and go would fill


@dataclass(frozen=True)
class Head:
    """Where it is, and who may enter with what."""

    cluster: str
    host: str
    user: str
    key: Path | None  # a private key; None: whatever ssh finds by itself
    proxy: str | None  # a command to reach it by

    def ssh(self, *options: str) -> list[str]:
        """An ssh command up to the host; it never asks, and notices in 15 s when the other side is gone."""
        settings = {
            "BatchMode": "yes",
            "ConnectTimeout": str(CONNECT_S),
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "StrictHostKeyChecking": "accept-new",  # the first key of a host is believed, no other after it
            "UserKnownHostsFile": str(Path(_KNOWN_HOSTS).expanduser()),
            "LogLevel": "ERROR",
        }
        if self.key is not None:
            settings["IdentitiesOnly"] = "yes"
        if self.proxy is not None:
            settings["ProxyCommand"] = self.proxy
        told = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        key = ["-i", str(self.key)] if self.key is not None else []
        return ["ssh", *key, *told, *options, f"{self.user}@{self.host}"]

    def run(self, command: str, patience_s: float) -> "subprocess.CompletedProcess[str]":
        """Run a command of a shell there.

        Raises:
            subprocess.TimeoutExpired: it took longer.
        """
        Path(_KNOWN_HOSTS).expanduser().parent.mkdir(exist_ok=True)
        return subprocess.run(  # noqa: S603 - no shell here
            [*self.ssh(), command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patience_s, check=False,
        )  # fmt: skip


def read_head(file: Path) -> Head:
    """The head of a cluster file.

    Raises:
        ConfigError: the file cannot be read, names no head, or none runs.
    """
    config = _read(file)
    provider, auth = config["provider"], config["auth"]
    if provider.get("type") != "local":
        host, auth = _of_provider(file, config)
    else:
        host = str(provider.get("head_ip", ""))
    user = str(auth.get("ssh_user", ""))
    # A word that begins with a hyphen would be an option of ssh.
    for name, value in {"head": host, "auth.ssh_user": user}.items():
        if not value or value.startswith("-"):
            raise ConfigError(f"{file}: {name} is '{value}'; give the address of the head and the user to log in as")
    key = auth.get("ssh_private_key")
    path = Path(os.path.expanduser(key)) if key else None  # noqa: PTH111 - as Ray does
    if path is not None and not path.is_file():
        raise ConfigError(f"{file}: auth.ssh_private_key: there is no {path}; name the key that opens the head")
    return Head(str(config["cluster_name"]), host, user, path, auth.get("ssh_proxy_command"))


def _read(file: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); give the file that `ray up` was given") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigError(f"{file}: no valid YAML; give the file that `ray up` was given") from None
    wanted = {"cluster_name": str, "provider": dict, "auth": dict}
    if not isinstance(config, dict) or any(not isinstance(config.get(name), kind) for name, kind in wanted.items()):
        raise ConfigError(f"{file}: has not cluster_name, provider and auth; give the file that `ray up` was given")
    return config


def _of_provider(file: Path, config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The address and the key of a head in a cloud, as Ray finds them there."""
    from ray.autoscaler import sdk
    from ray.autoscaler._private.commands import _bootstrap_config

    try:
        with redirect_stdout(StringIO()):  # it tells of its configuration
            auth: dict[str, Any] = _bootstrap_config(config)["auth"]  # where Ray made the key itself, its name
            return sdk.get_head_node_ip(str(file)), auth
    except Exception as error:  # noqa: BLE001 - every cloud's library has its own
        raise ConfigError(f"{file}: Ray finds no head ({error}); start it with `ray up {file}`") from None
