"""Two machines that ingest into one place far away: one of them is told so, and one that died does not block it."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from data.errors import InputError
from data.ingest import lease
from data.ingest.ingest import ingest
from data.ingest.lease import NAME, leased, machine
from data.ingest.progress import IngestProgress
from data.manifest import MANIFEST
from data.storage import Storage, open_storage
from tests.data.test_ingest import ETRAM3, three

RENEW_S, EXPIRES_S = 0.1, 0.4


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """A place that is fetched from and put to, where a lease lasts for tenths of a second."""
    monkeypatch.setattr(lease, "RENEW_S", RENEW_S)
    monkeypatch.setattr(lease, "EXPIRES_S", EXPIRES_S)
    monkeypatch.setattr(lease, "SETTLE_S", 0.05)
    return open_storage(f"file://{tmp_path}/target")


def foreign(renewed: int = 1) -> bytes:
    """The lease of an ingestion on another machine."""
    told = {"owner": "somebody", "host": "node7", "machine": "node7 boot pid:[1] 0", "renewed": str(renewed)}
    return json.dumps(told).encode()


@contextmanager
def renewed_by_another(target: Storage) -> Iterator[None]:
    ended = threading.Event()

    def renew() -> None:
        renewed = 0
        while not ended.wait(RENEW_S / 4):
            renewed += 1
            target.write(foreign(renewed), NAME)

    target.write(foreign(), NAME)
    other = threading.Thread(target=renew)
    other.start()
    try:
        yield
    finally:
        ended.set()
        other.join()


def test_an_ingestion_that_another_machine_is_at_is_refused_and_told_where(tmp_path: Path, target: Storage) -> None:
    source = three(tmp_path / "source")
    with renewed_by_another(target), pytest.raises(InputError, match="an ingestion on node7 writes into it"):
        ingest(source, target.location, ETRAM3)
    assert target.size(MANIFEST) is None
    assert target.read(NAME) is not None  # it is the other one's


def test_the_lease_of_a_machine_that_died_is_taken_over_when_it_has_expired(target: Storage) -> None:
    target.write(foreign(), NAME)
    begun = time.monotonic()
    with leased(target) as held:
        assert time.monotonic() - begun >= EXPIRES_S
        held.check()
    assert target.read(NAME) is None


def test_what_this_machine_left_behind_is_taken_over_at_once(target: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "EXPIRES_S", 60.0)
    told = {"owner": "somebody", "host": "here", "machine": machine(), "renewed": "3"}
    target.write(json.dumps(told).encode(), NAME)
    begun = time.monotonic()
    with leased(target):
        assert time.monotonic() - begun < 10


def test_a_lease_is_renewed_as_long_as_the_work_goes_and_then_gone(target: Storage) -> None:
    with leased(target):
        seen: set[object] = set()
        deadline = time.monotonic() + 20
        while len(seen) < 3 and time.monotonic() < deadline:
            seen.add(json.loads(target.read(NAME) or b"{}").get("renewed"))
            time.sleep(RENEW_S / 4)
        assert len(seen) >= 3
    assert target.read(NAME) is None


def test_of_two_that_begin_at_one_moment_the_last_one_has_it(target: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SETTLE_S", 0.3)
    later = threading.Timer(0.1, lambda: target.write(foreign(), NAME))
    later.start()
    with pytest.raises(InputError, match="an ingestion on node7 writes into it"), leased(target):
        pytest.fail("it was not to have it")
    later.join()


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b'{"owner": "somebody"}'])
def test_what_is_no_lease_blocks_nobody(torn: bytes, target: Storage) -> None:
    target.write(torn, NAME)
    with leased(target) as held:
        held.check()


def test_an_ingestion_that_was_taken_over_writes_no_manifest(
    tmp_path: Path, target: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = three(tmp_path / "source")

    def cut_off(progress: IngestProgress) -> None:
        """As if the link were cut until another machine has taken over."""
        if progress.finished is not None and progress.done == progress.total:
            target.write(foreign(), NAME)
            time.sleep(5 * RENEW_S)

    with pytest.raises(InputError, match="the ingestion on node7 has taken it over"):
        ingest(source, target.location, ETRAM3, cut_off)
    assert target.size(MANIFEST) is None
    target.remove(NAME)
    assert len(ingest(source, target.location, ETRAM3).recordings) == 3
