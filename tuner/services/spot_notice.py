"""A worker on the spot market is warned before it is taken back; the watcher passes the warning on to Ray.

Each provider tells it by its metadata service, which every machine of it can ask. Ray then gives the node no more work,
and counts what is lost with it as nobody's fault. What Ray ships asks no such service.
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path

from data.errors import SpiketuneError

METADATA = "http://169.254.169.254"  # of AWS, Google Cloud and Azure alike
_TIMEOUT_S = 3
_GOOGLE_S = 30  # it gives no time, but this long
_UNTIMED_S = 30  # where Azure's event has begun already
_TRIES = 3


class Provider(StrEnum):
    """Whose metadata service it is."""

    AWS = "aws"
    GCP = "gcp"
    AZURE = "azure"


@dataclass(frozen=True)
class Notice:
    """The machine will be taken back."""

    seconds_left: int  # 0 or more


def notice(provider: Provider, metadata: str, now: datetime) -> Notice | None:
    """The warning, if there is one.

    Raises:
        OSError: the metadata service does not answer, or not as it should.
    """
    try:
        return _ASK[provider](metadata, now)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OSError(f"an answer that makes no sense: {error}") from None


def _aws(metadata: str, now: datetime) -> Notice | None:
    token = _get(f"{metadata}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, method="PUT")
    if token is None:
        raise OSError("no token")
    action = _get(f"{metadata}/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token})
    return None if action is None else _until(datetime.fromisoformat(str(json.loads(action)["time"])), now)


def _google(metadata: str, now: datetime) -> Notice | None:  # noqa: ARG001 - asked like the others
    preempted = _get(f"{metadata}/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
    return Notice(_GOOGLE_S) if preempted is not None and preempted.strip() == "TRUE" else None


def _azure(metadata: str, now: datetime) -> Notice | None:
    header = {"Metadata": "true"}
    told = _get(f"{metadata}/metadata/scheduledevents?api-version=2020-07-01", header)
    preempted = [event for event in json.loads(told or "{}").get("Events", []) if event["EventType"] == "Preempt"]
    if not preempted:
        return None
    name = _get(f"{metadata}/metadata/instance/compute/name?api-version=2021-02-01&format=text", header)
    ours = [event for event in preempted if name in event["Resources"]]  # those of a whole set of machines are told
    if not ours:
        return None
    begins = ours[0].get("NotBefore")
    return _until(parsedate_to_datetime(begins), now) if begins else Notice(_UNTIMED_S)


_ASK: Mapping[Provider, Callable[[str, datetime], Notice | None]] = {
    Provider.AWS: _aws,
    Provider.GCP: _google,
    Provider.AZURE: _azure,
}


def _until(time_of_end: datetime, now: datetime) -> Notice:
    if time_of_end.tzinfo is None:
        time_of_end = time_of_end.replace(tzinfo=UTC)
    return Notice(max(0, int((time_of_end - now).total_seconds())))


def _get(url: str, headers: Mapping[str, str], method: str = "GET") -> str | None:
    """The answer; None where there is no such thing, as AWS says while nothing is planned."""
    request = urllib.request.Request(url, headers=dict(headers), method=method)  # noqa: S310 - given by the operator
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy knows this machine
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            if error.code != HTTPStatus.NOT_FOUND:
                raise
            return None


def watch(
    provider: Provider, metadata: str, every_s: float, drain: Callable[[Notice], None], say: Callable[[str], None]
) -> None:
    """Ask until there is a warning, and pass it on; a service that does not answer is told once, and asked again.

    Raises:
        SpiketuneError: Ray does not take the warning.
    """
    told = ""
    while True:
        found = None
        try:
            found, told = notice(provider, metadata, datetime.now(UTC)), ""
        except OSError as error:
            if not told:
                told = f"{metadata} does not answer as the metadata service of {provider} does ({error})"
                say(f"{told}; asking on")
        if found is not None:
            say(f"this machine is taken back in {found.seconds_left} s; draining its node")
            drain(found)
            return
        time.sleep(every_s)


def drain_node(address: str, node: str | None, found: Notice) -> None:
    """Tell Ray that this node will be gone, or another one.

    Raises:
        SpiketuneError: Ray does not take it.
    """
    command = [str(Path(sys.executable).with_name("ray")), "drain-node", "--address", address]
    command += ["--node-id", node] if node else []
    command += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "taken back by the spot market"]
    command += ["--deadline-remaining-seconds", str(found.seconds_left)]
    environment = {**os.environ, "RAY_ADDRESS": address}  # by which Ray finds the node that this machine is
    for _ in range(_TRIES):
        done = subprocess.run(  # noqa: S603 - Ray's own command, no shell
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return
    raise SpiketuneError(f"the node is not drained: {done.stderr.strip()[-500:]}; check --address and Ray's token")
