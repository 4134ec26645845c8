"""The node cache fetches a shard once for all processes of a machine, keeps to its room, and survives what kills."""

import errno
import hashlib
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest

from data.errors import ConfigError, DatasetError, InputError
from data.node_cache import NodeCache, cache_folder, limit_from_environment
from data.storage import FolderStorage, Storage, open_storage
from tests.object_store import KEYS, Proxy, S3Server, s3_server

MB = 1 << 20


class CountingStorage(FolderStorage):
    """A folder as `file://` has it, that counts what is fetched, and may fail first."""

    def __init__(self, folder: Path, fails: list[OSError] | None = None) -> None:
        super().__init__(folder.as_uri(), folder, None)
        self.fetched: list[str] = []
        self.fails = fails or []

    def fetch(self, name: PurePosixPath, to: Path) -> None:
        self.fetched.append(str(name))
        if self.fails:
            raise self.fails.pop(0)
        super().fetch(name, to)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "train").mkdir(parents=True)
    for name, size in (("a", 40), ("b", 30), ("c", 30), ("d", 50), ("e", 101)):
        (folder / "train" / f"{name}.arrow").write_bytes(name.encode() * size)
    return folder


def locate(cache: NodeCache, storage: Storage, source: Path, letter: str) -> Path:
    name = PurePosixPath("train", f"{letter}.arrow")
    content = (source / name).read_bytes()
    return cache.locate(storage, name, hashlib.sha256(content).hexdigest(), len(content))


def held(folder: Path) -> set[str]:
    """The letters of the shards in a cache, by their content."""
    return {path.read_text()[:1] for path in folder.iterdir() if path.is_file()}


def test_a_shard_is_fetched_at_its_first_use_only(source: Path, tmp_path: Path) -> None:
    storage = CountingStorage(source)
    cache = NodeCache(tmp_path / "cache", 100)
    first, second = (locate(cache, storage, source, "a") for _ in range(2))
    assert first == second
    assert first.read_text() == "a" * 40
    assert storage.fetched == ["train/a.arrow"]


def test_the_least_recently_used_go_first(source: Path, tmp_path: Path) -> None:
    storage = CountingStorage(source)
    cache = NodeCache(tmp_path / "cache", 100)
    for letter in "abca":  # 40 + 30 + 30 fill it; a is used again, so b is the oldest, then c
        locate(cache, storage, source, letter)
        time.sleep(0.01)  # file times have steps of some milliseconds
    assert held(tmp_path / "cache") == {"a", "b", "c"}
    locate(cache, storage, source, "d")  # 50: 30 of b are not enough, so c goes as well
    assert held(tmp_path / "cache") == {"a", "d"}
    locate(cache, storage, source, "b")  # 40 + 50 + 30 are too many: a goes
    assert held(tmp_path / "cache") == {"b", "d"}


def test_a_shard_as_large_as_the_cache_fits_and_a_larger_one_is_refused(source: Path, tmp_path: Path) -> None:
    storage = CountingStorage(source)
    locate(NodeCache(tmp_path / "cache", 101), storage, source, "e")
    cache = NodeCache(tmp_path / "small", 100)
    locate(cache, storage, source, "a")
    with pytest.raises(InputError, match=r"e\.arrow: the shard has .* raise SPIKETUNE_CACHE_GB"):
        locate(cache, storage, source, "e")
    assert held(tmp_path / "small") == {"a"}


def test_a_mapped_shard_stays_readable_when_it_is_evicted(source: Path, tmp_path: Path) -> None:
    cache = NodeCache(tmp_path / "cache", 50)
    storage = CountingStorage(source)
    with locate(cache, storage, source, "a").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    locate(cache, storage, source, "d")
    assert held(tmp_path / "cache") == {"d"}
    assert mapped[:] == b"a" * 40
    mapped.close()


def test_content_that_is_not_the_manifests_is_refused_and_not_kept(source: Path, tmp_path: Path) -> None:
    storage, name = CountingStorage(source), PurePosixPath("train/a.arrow")
    with pytest.raises(DatasetError, match=r"a\.arrow: the shard is damaged: .*--rebuild train/a$"):
        NodeCache(tmp_path / "cache", 100).locate(storage, name, "0" * 64, 40)
    assert held(tmp_path / "cache") == held(tmp_path / "cache" / "incoming") == set()


@pytest.mark.parametrize(
    ("name", "told"),
    [("train/a.arrow", "has 40 bytes instead of 41"), ("train/z.arrow", "is missing")],
)
def test_a_shard_of_another_size_or_none_is_named_before_it_is_fetched(
    source: Path, tmp_path: Path, name: str, told: str
) -> None:
    storage = CountingStorage(source)
    with pytest.raises(DatasetError, match=rf"{name}: the shard {told}; rebuild .* --rebuild {name[:-6]}"):
        NodeCache(tmp_path / "cache", 100).locate(storage, PurePosixPath(name), "0" * 64, 41)
    assert storage.fetched == []


def test_a_file_that_lost_its_end_with_the_power_is_fetched_again(source: Path, tmp_path: Path) -> None:
    storage = CountingStorage(source)
    cache = NodeCache(tmp_path / "cache", 100)
    path = locate(cache, storage, source, "a")
    path.write_bytes(b"")
    assert locate(cache, storage, source, "a").read_text() == "a" * 40


def test_a_full_disk_is_relieved_once(source: Path, tmp_path: Path) -> None:
    cache = NodeCache(tmp_path / "cache", 1000)
    for letter in "abc":
        locate(cache, CountingStorage(source), source, letter)
        time.sleep(0.01)
    full = CountingStorage(source, [OSError(errno.ENOSPC, "No space left on device")])
    assert locate(cache, full, source, "d").read_text() == "d" * 50
    assert held(tmp_path / "cache") == {"c", "d"}  # 40 of a are less than 50, so b went as well


def test_a_disk_that_stays_full_is_told_of(source: Path, tmp_path: Path) -> None:
    full = CountingStorage(source, [OSError(errno.ENOSPC, "No space left on device") for _ in range(2)])
    with pytest.raises(InputError, match=r"No space left on device.*SPIKETUNE_CACHE"):
        locate(NodeCache(tmp_path / "cache", 1000), full, source, "d")
    assert held(tmp_path / "cache") == held(tmp_path / "cache" / "incoming") == set()
    assert len(full.fetched) == 2


def test_two_fetches_at_one_time_keep_to_the_limit_together(source: Path, tmp_path: Path) -> None:
    cache = NodeCache(tmp_path / "cache", 75)
    most: list[int] = []

    class Slow(CountingStorage):
        def fetch(self, name: PurePosixPath, to: Path) -> None:
            time.sleep(0.1)
            super().fetch(name, to)
            folders = (tmp_path / "cache", tmp_path / "cache" / "incoming")
            most.append(sum(path.stat().st_size for each in folders for path in each.iterdir() if path.is_file()))

    threads = [threading.Thread(target=locate, args=(cache, Slow(source), source, letter)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 4
    assert max(most) <= 75  # a + b or a + c fit, d fits beside none


# Several processes

LOCATE = """
import sys
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from data.node_cache import NodeCache
from data.storage import open_storage
location, folder, sha256, size = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
path = NodeCache(Path(folder), 1 << 30).locate(open_storage(location), PurePosixPath("big.arrow"), sha256, int(size))
print(path, path.stat().st_size)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def big(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, bytes]:
    """A folder in the store with a shard of 20 MB, and its content."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    content = os.urandom(20 * MB)
    open_storage(server.url(tmp_path.name)).write(content, PurePosixPath("big.arrow"))
    return tmp_path.name, content


def start(location: str, cache: Path, content: bytes) -> "subprocess.Popen[str]":
    arguments = [location, str(cache), hashlib.sha256(content).hexdigest(), str(len(content))]
    process = subprocess.Popen(
        [sys.executable, "-c", LOCATE, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process: "subprocess.Popen[str]") -> str:
    with process:
        out, _ = process.communicate("go\n", timeout=60)
    return out


def test_two_processes_that_want_one_shard_fetch_it_once(
    server: S3Server, big: tuple[str, bytes], tmp_path: Path
) -> None:
    folder, content = big
    between = Proxy(server.port, up=False, after_bytes=1 << 40, times=0)
    location = server.url(folder, between.port)
    processes = [start(location, tmp_path / "cache", content) for _ in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    first, second = (finish(process) for process in processes)
    between.close()
    assert first == second
    assert first.endswith(f" {len(content)}\n")
    assert len(content) < between.carried < len(content) + MB


def test_a_process_killed_in_the_middle_of_a_fetch_leaves_nothing_in_the_way(
    server: S3Server, big: tuple[str, bytes], tmp_path: Path
) -> None:
    folder, content = big
    process: subprocess.Popen[str]
    between = Proxy(
        server.port, up=False, after_bytes=10 * MB, times=1, instead=lambda: process.send_signal(signal.SIGKILL)
    )
    process = start(server.url(folder, between.port), tmp_path / "cache", content)
    finish(process)
    between.close()
    assert process.returncode == -signal.SIGKILL
    incoming = tmp_path / "cache" / "incoming"
    assert len(list(incoming.iterdir())) == 2  # the room it had reserved, and what had come
    # A fetch of another shard clears them away.
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.arrow").write_bytes(b"a")
    cache = NodeCache(tmp_path / "cache", 1 << 30)
    cache.locate(open_storage(source.as_uri()), PurePosixPath("a.arrow"), hashlib.sha256(b"a").hexdigest(), 1)
    assert list(incoming.iterdir()) == []
    digest = hashlib.sha256(content).hexdigest()
    path = cache.locate(open_storage(server.url(folder)), PurePosixPath("big.arrow"), digest, len(content))
    assert path.read_bytes() == content


# Settings


def test_the_folder_is_the_environments_or_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPIKETUNE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "spiketune"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "spiketune"
    monkeypatch.setenv("SPIKETUNE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("SPIKETUNE_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"file/shards: cannot be written .*SPIKETUNE_CACHE"):
        NodeCache.of_this_machine()


@pytest.mark.parametrize(("given", "limit"), [("2", 2_000_000_000), ("0.5", 500_000_000), ("", None)])
def test_the_limit_is_in_gigabytes(given: str, limit: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKETUNE_CACHE_GB", given)
    assert limit_from_environment() == limit


@pytest.mark.parametrize("given", ["0", "-1", "many", "nan", "inf"])
def test_a_limit_that_is_no_number_above_0_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKETUNE_CACHE_GB", given)
    with pytest.raises(ConfigError, match=rf"SPIKETUNE_CACHE_GB={given}: must be a number of gigabytes above 0"):
        limit_from_environment()


def test_without_a_limit_half_of_the_room_is_taken(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPIKETUNE_CACHE_GB", raising=False)
    storage = CountingStorage(source)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=120))
    locate(NodeCache.of_this_machine(), storage, source, "a")  # half of 120 free: 60
    with pytest.raises(InputError, match=r"may hold 8e-08 GB"):  # half of 120 free and 40 held
        locate(NodeCache.of_this_machine(), storage, source, "e")
