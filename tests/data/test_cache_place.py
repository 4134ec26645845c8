import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from data.cache import place as cache_place
from data.cache.keeper import start_keeper
from data.cache.machine_room import available_memory, free_bytes, held_bytes, is_remote
from data.cache.place import CacheConfig, CacheMode, Place, clear, disk_folder, memory_folder, place
from data.cache.shared_folder import entering, is_held, remove_unused
from data.cache.window_cache import WindowCache
from data.errors import ConfigError

ROOT = str(Path(__file__).parents[2])
GB = 10**9


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of its own for each test: 8 GB of memory, of which /dev/shm has 6, and 100 GB of disk."""
    (tmp_path / "shm").mkdir()
    monkeypatch.setattr(cache_place, "MEMORY", tmp_path / "shm")
    monkeypatch.setenv("SPIKETUNE_CACHE", str(tmp_path / "disk"))
    have(monkeypatch, memory=8 * GB, shm=6 * GB, disk=100 * GB)
    monkeypatch.setattr(cache_place, "start_keeper", lambda _: None)


def have(monkeypatch: pytest.MonkeyPatch, memory: int, shm: int, disk: int) -> None:
    monkeypatch.setattr(cache_place, "available_memory", lambda: memory)
    monkeypatch.setattr(cache_place, "free_bytes", lambda folder: shm if folder == cache_place.MEMORY else disk)


@contextmanager
def in_use(found: Place) -> Iterator[None]:
    cache = WindowCache.open(found.folder, found.limit_bytes)
    try:
        yield
    finally:
        cache.close()


@pytest.mark.parametrize(
    ("expected_bytes", "mode", "limit_bytes"),
    [
        (3 * GB, CacheMode.RAM, 3 * GB),  # half of the 6 GB of /dev/shm
        (3 * GB + 1, CacheMode.DISK, 50 * GB),
        (50 * GB, CacheMode.DISK, 50 * GB),
    ],
)
def test_windows_go_to_memory_where_they_fit_in_half_of_it_else_to_disk(
    expected_bytes: int, mode: CacheMode, limit_bytes: int
) -> None:
    found = place(CacheConfig(), expected_bytes)
    assert found is not None
    assert (found.mode, found.limit_bytes) == (mode, limit_bytes)


def test_memory_counts_only_as_far_as_it_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, memory=4 * GB, shm=6 * GB, disk=100 * GB)
    found = place(CacheConfig(), 2 * GB + 1)
    assert found is not None
    assert found.mode is CacheMode.DISK


def test_windows_that_fit_nowhere_are_not_kept_and_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "spiketune"):
        assert place(CacheConfig(), 51 * GB) is None
    (record,) = caplog.records
    sentence = record.getMessage()
    assert "51.00 GB" in sentence
    assert "shm" in sentence
    assert "may take 3.00 GB" in sentence
    assert "may take 50.00 GB" in sentence


def test_a_limit_is_what_has_to_fit() -> None:
    found = place(CacheConfig(limit_gb=2.5), 70 * GB)
    assert found is not None
    assert (found.mode, found.limit_bytes) == (CacheMode.RAM, 2_500_000_000)


def test_no_cache_is_wanted() -> None:
    assert place(CacheConfig(mode=CacheMode.OFF), 1000) is None


@pytest.mark.parametrize(("mode", "room"), [(CacheMode.RAM, 3 * GB), (CacheMode.DISK, 50 * GB)])
def test_a_place_asked_for_by_name_is_used_for_as_many_windows_as_it_holds(mode: CacheMode, room: int) -> None:
    found = place(CacheConfig(mode=mode), 1000 * GB)
    assert found is not None
    assert (found.mode, found.limit_bytes) == (mode, room)


@pytest.mark.parametrize("mode", [CacheMode.RAM, CacheMode.DISK])
def test_a_place_asked_for_by_name_without_room_is_an_error(mode: CacheMode, monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, memory=8 * GB, shm=100 << 20, disk=100 << 20)  # half is less than 64 MiB
    with pytest.raises(ConfigError, match=rf"cache.mode={mode.value}: no room .* 0.05 GB.*set cache.mode=auto or off"):
        place(CacheConfig(mode=mode), 1 * GB)
    assert place(CacheConfig(mode=mode), 10 << 20) is not None  # all of them fit


def test_a_limit_beyond_what_is_free_is_lowered_to_it() -> None:
    found = place(CacheConfig(mode=CacheMode.DISK, limit_gb=500), 1000 * GB)
    assert found is not None
    assert found.limit_bytes == 100 * GB


def test_a_limit_without_a_cache_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"limit_gb=2\.0 but there is no cache"):
        CacheConfig.parse({"mode": "off", "limit_gb": 2}, "search.yaml")


def test_the_folder_in_memory_is_the_users_alone() -> None:
    found = place(CacheConfig(mode=CacheMode.RAM), GB)
    assert found is not None
    assert found.folder == memory_folder()
    assert str(os.getuid()) in found.folder.name
    assert found.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("trap", ["open to others", "link", "file"])
def test_a_folder_in_memory_that_another_could_have_laid_is_not_used(trap: str, tmp_path: Path) -> None:
    if trap == "open to others":
        memory_folder().mkdir()
        memory_folder().chmod(0o777)
    elif trap == "link":
        memory_folder().symlink_to(tmp_path)
    else:
        memory_folder().touch()
    found = place(CacheConfig(), GB)
    assert found is not None
    assert found.mode is CacheMode.DISK
    with pytest.raises(ConfigError, match="not a folder of this user alone; remove it"):
        place(CacheConfig(mode=CacheMode.RAM), GB)


def test_the_disk_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk_folder() == tmp_path / "disk" / "windows"
    monkeypatch.delenv("SPIKETUNE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert disk_folder() == tmp_path / "xdg" / "spiketune" / "windows"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "someone"))
    assert disk_folder() == tmp_path / "someone" / ".cache" / "spiketune" / "windows"


def test_a_disk_of_another_machine_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_place, "is_remote", lambda _: True)
    assert place(CacheConfig(), 4 * GB) is None
    with pytest.raises(ConfigError, match=r"lies on another machine; .* set SPIKETUNE_CACHE"):
        place(CacheConfig(mode=CacheMode.DISK), GB)


def test_trials_join_the_cache_that_others_use_though_less_memory_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    first = place(CacheConfig(), 3 * GB)
    assert first is not None
    with in_use(first):
        have(monkeypatch, memory=5 * GB, shm=6 * GB, disk=100 * GB)  # half would be 2.5 GB
        joined = place(CacheConfig(), 3 * GB)
        assert joined is not None
        assert joined == first
        larger = place(CacheConfig(), 3 * GB + 1)
        assert larger is not None
        assert larger.mode is CacheMode.DISK
    alone = place(CacheConfig(), 3 * GB)
    assert alone is not None
    assert alone.mode is CacheMode.DISK


def test_what_a_cache_holds_already_counts_as_room(monkeypatch: pytest.MonkeyPatch) -> None:
    memory_folder().mkdir(mode=0o700)
    (memory_folder() / "data.mdb").write_bytes(bytes(1 << 20))
    have(monkeypatch, memory=1 << 20, shm=1 << 20, disk=0)
    found = place(CacheConfig(), 1 << 20)
    assert found is not None
    assert found.mode is CacheMode.RAM
    (memory_folder() / "data.mdb").unlink()
    assert place(CacheConfig(), 1 << 20) is None


def test_clear_removes_what_nobody_uses_and_names_the_rest() -> None:
    ram, disk = (place(CacheConfig(mode=mode), GB) for mode in (CacheMode.RAM, CacheMode.DISK))
    assert ram is not None
    assert disk is not None
    with in_use(disk):
        assert clear() == ([ram.folder], [disk.folder])
    assert not ram.folder.exists()
    assert clear() == ([disk.folder], [])
    assert clear() == ([], [])


HOLD = """
import sys, time
from pathlib import Path
from data.cache.shared_folder import entering
with entering(Path(sys.argv[1])):
    pass
print("held", flush=True)
time.sleep(60)
"""


def holder(folder: Path) -> "subprocess.Popen[str]":
    """A process that uses the folder until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_folder_is_removed_only_when_its_last_user_was_killed(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    first, second = holder(folder), holder(folder)
    end(first)
    assert is_held(folder)
    assert not remove_unused(folder)
    end(second)
    assert not is_held(folder)
    assert remove_unused(folder)
    assert not folder.exists()
    assert remove_unused(folder)


def test_a_keeper_gives_memory_back_after_the_last_user_was_killed(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    process = holder(folder)
    start_keeper(folder, linger_s=0.4)
    start_keeper(folder, linger_s=0.4)  # the second has nothing to do
    time.sleep(0.8)
    assert folder.exists()  # in use, however long
    end(process)
    ended_s = time.monotonic()
    while folder.exists():
        assert time.monotonic() - ended_s < 10
        time.sleep(0.02)
    assert time.monotonic() - ended_s > 0.3  # the next trial had the time to come


def test_a_keeper_leaves_a_folder_that_was_entered_just_now(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    with entering(folder) as (file, alone):
        assert alone
    os.close(file)
    assert not remove_unused(folder, idle_s=60)
    assert folder.exists()


def test_the_only_one_to_enter_a_folder_is_told_so(tmp_path: Path) -> None:
    files = []
    for expected in (True, False):
        with entering(tmp_path / "shared") as (file, alone):
            assert alone is expected
        files.append(file)
    for file in files:
        os.close(file)


MEMINFO = (
    "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\nHugePages_Total:       0\n"
)


def put(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8_192_000_000),  # 8,000,000 times 1024
        ({"a/b/memory.max": "max", "a/b/memory.current": "5"}, 8_192_000_000),
        ({"a/b/memory.max": "900", "a/b/memory.current": "700", "a/b/memory.stat": "anon 9\ninactive_file 50"}, 250),
        (
            {
                "a/b/memory.max": "max",
                "a/b/memory.current": "5",
                "a/memory.max": "4000",  # the group around it is the tighter
                "a/memory.current": "1000",
            },
            3000,
        ),
        ({"memory.max": "7000", "memory.current": "1000"}, 6000),  # a container sees its group as the root
    ],
)
def test_available_memory_ends_where_a_control_group_does(files: dict[str, str], expected: int, tmp_path: Path) -> None:
    put(tmp_path / "proc/meminfo", MEMINFO)
    put(tmp_path / "proc/self/cgroup", "0::/a/b\n")
    for name, content in files.items():
        put(tmp_path / "groups" / name, content + "\n")
    assert available_memory(tmp_path / "proc", tmp_path / "groups") == expected


def test_available_memory_heeds_control_groups_of_the_first_version(tmp_path: Path) -> None:
    put(tmp_path / "proc/meminfo", MEMINFO)
    put(tmp_path / "proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/a\n0::/\n")
    put(tmp_path / "groups/memory/memory.limit_in_bytes", "9223372036854771712\n")  # none
    put(tmp_path / "groups/memory/memory.usage_in_bytes", "100\n")
    put(tmp_path / "groups/memory/a/memory.limit_in_bytes", "6000\n")
    put(tmp_path / "groups/memory/a/memory.usage_in_bytes", "5000\n")
    put(tmp_path / "groups/memory/a/memory.stat", "total_inactive_file 300\n")
    assert available_memory(tmp_path / "proc", tmp_path / "groups") == 1300


def test_this_machine_has_some_room(tmp_path: Path) -> None:
    assert 0 < available_memory() < 1 << 50
    assert 0 < free_bytes(tmp_path / "not" / "yet" / "there") < 1 << 60


def test_held_bytes_are_those_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(8192))
    (tmp_path / "b").write_bytes(b"x" * 4096)
    assert 12_288 <= held_bytes(tmp_path) <= 12_288 + 2 * 4096
    assert held_bytes(tmp_path / "none") == 0


@pytest.mark.parametrize(("kind", "remote"), [("ext4", False), ("nfs4", True), ("lustre", True), ("tmpfs", False)])
def test_a_folder_is_where_its_nearest_mount_is(kind: str, remote: bool, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    inner = tmp_path.resolve() / "home of all"
    inner.mkdir()
    escaped = str(inner).replace(" ", "\\040")
    mounts.write_text(
        f"22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n40 22 0:30 / {escaped} rw shared:1 - {kind} server:/x rw\n"
    )
    assert is_remote(inner / "cache" / "windows", mounts) is remote
    assert is_remote(tmp_path, mounts) is False
