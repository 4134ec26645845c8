import json
import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from data.cache import window_cache
from data.cache.sparse import encode
from data.cache.window_cache import WindowCache, window_key
from data.errors import ConfigError

Frames = npt.NDArray[np.uint8]

ROOM = 64 << 20  # bytes: more than any test here stores
SHAPE = (4, 2, 90, 160)
ROOT = str(Path(__file__).parents[2])

# What every process of these tests renders: window `number`, as any other process would.
SCENE = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from data.cache.window_cache import WindowCache, window_key

def key(number):
    return window_key({"scale": 1.0}, "0" * 64, number * 1000, number * 1000 + 1000)

def rendered(number, out):
    random = np.random.default_rng(number)
    out[:] = random.integers(1, 256, out.shape) * (random.random(out.shape) < 0.05)

frames = np.empty((4, 2, 90, 160), np.uint8)
folder = Path(sys.argv[1])
"""


def key(number: int) -> bytes:
    return window_key({"scale": 1.0}, "0" * 64, number * 1000, number * 1000 + 1000)


def fresh(number: int) -> Frames:
    random = np.random.default_rng(number)
    return (random.integers(1, 256, SHAPE) * (random.random(SHAPE) < 0.05)).astype(np.uint8)


def fill(cache: WindowCache, number: int) -> bool:
    """Ask for a window, see that it is right, and tell whether it came from the cache."""
    frames = np.full(SHAPE, 0xAA, np.uint8)
    found = cache.fill(key(number), frames, lambda out: np.copyto(out, fresh(number)))
    np.testing.assert_array_equal(frames, fresh(number))
    return found


def start(script: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCENE + script, str(folder), *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def said(caplog: pytest.LogCaptureFixture, words: str) -> int:
    return sum(words in record.getMessage() for record in caplog.records)


@pytest.fixture
def open_cache(tmp_path: Path) -> Iterator[Callable[..., WindowCache]]:
    caches: list[WindowCache] = []

    def opened(limit_bytes: int = ROOM, folder: Path = tmp_path / "windows") -> WindowCache:
        caches.append(WindowCache.open(folder, limit_bytes))
        return caches[-1]

    yield opened
    for cache in caches:
        cache.close()


def test_a_window_is_rendered_once_and_read_afterwards(open_cache: Callable[..., WindowCache]) -> None:
    cache = open_cache()
    assert [fill(cache, number) for number in (1, 2, 1, 1, 2)] == [False, False, True, True, True]
    stats = cache.stats
    assert (stats.hits, stats.renders, stats.entries) == (3, 2, 2)
    assert stats.bytes_held >= len(encode(fresh(1))) + len(encode(fresh(2)))


def test_windows_outlive_the_handle(open_cache: Callable[..., WindowCache], tmp_path: Path) -> None:
    first = WindowCache.open(tmp_path / "windows", ROOM)
    fill(first, 1)
    first.close()
    assert fill(open_cache(), 1)


def test_an_error_while_rendering_is_the_callers_and_stores_nothing(open_cache: Callable[..., WindowCache]) -> None:
    cache = open_cache()

    def broken(out: Frames) -> None:
        out.fill(9)
        raise ConfigError("no such representation")

    with pytest.raises(ConfigError, match="no such representation"):
        cache.fill(key(1), np.empty(SHAPE, np.uint8), broken)
    assert not fill(cache, 1)


def test_two_processes_render_each_window_once(tmp_path: Path) -> None:
    script = """
cache = WindowCache.open(folder, 1 << 26)
print("ready", flush=True)
sys.stdin.readline()  # until both are ready
for number in range(30):
    def slow(out):
        rendered(number, out)
        time.sleep(0.002)
    cache.fill(key(number), frames, slow)
    wanted = np.empty_like(frames)
    rendered(number, wanted)
    assert (frames == wanted).all()
print(cache.stats.renders, cache.stats.hits, cache.stats.entries)
"""
    processes = [start(script, tmp_path / "windows") for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [[int(word) for word in process.communicate(timeout=60)[0].split()] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    renders, hits, entries = zip(*answers, strict=True)
    assert sum(renders) == 30
    assert sum(hits) == 30
    assert max(entries) == 30


def test_threads_of_a_process_render_each_window_once(open_cache: Callable[..., WindowCache]) -> None:
    cache = open_cache()
    threads = [threading.Thread(target=lambda: [fill(cache, number) for number in range(12)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (cache.stats.renders, cache.stats.hits) == (12, 36)


def test_processes_killed_at_any_moment_leave_only_whole_windows(
    tmp_path: Path, open_cache: Callable[..., WindowCache]
) -> None:
    script = """
random = np.random.default_rng(int(sys.argv[2]))
warm = WindowCache.open(folder.with_name("warm"), 1 << 22)  # compiled code is loaded before the children start
warm.fill(key(0), frames, lambda out: rendered(0, out))
warm.fill(key(0), frames, lambda out: rendered(0, out))
warm.close()
kept = 0
for round in range(int(sys.argv[3])):
    children = []
    for child in range(2):
        pid = os.fork()
        if pid == 0:
            cache = WindowCache.open(folder, 1 << 20)  # of 22 windows: evictions are interrupted too
            for number in np.random.default_rng(round).permutation(60):
                cache.fill(key(int(number)), frames, lambda out: rendered(int(number), out))
            os._exit(0)
        children.append(pid)
    time.sleep(random.uniform(0.0, 0.12))
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    cache = WindowCache.open(folder, 1 << 20)
    for number in range(60):
        def check(out):
            out.fill(0)
            raise LookupError
        try:
            cache.fill(key(number), frames, check)
        except LookupError:
            continue
        wanted = np.empty_like(frames)
        rendered(number, wanted)
        assert (frames == wanted).all(), number
        kept += 1
    cache.close()
print(kept)
"""
    process = start(script, tmp_path / "windows", "7", "8")
    kept = int(process.communicate(timeout=120)[0])
    assert process.returncode == 0
    assert kept > 0  # some were stored before their writer was killed
    cache = open_cache(1 << 20)
    for number in range(60):
        fill(cache, number)  # and those that were not are rendered


def test_a_killed_renderer_frees_its_window(tmp_path: Path, open_cache: Callable[..., WindowCache]) -> None:
    script = """
def stuck(out):
    print("rendering", flush=True)
    time.sleep(60)
WindowCache.open(folder, 1 << 26).fill(key(1), frames, stuck)
"""
    process = start(script, tmp_path / "windows")
    assert process.stdout is not None
    assert process.stdout.readline() == "rendering\n"
    process.kill()
    process.communicate()
    assert not fill(open_cache(), 1)


def test_the_windows_stored_first_make_room(open_cache: Callable[..., WindowCache]) -> None:
    """A window of 115,200 cells, 5 % of them set, takes about 17.3 kB: 5 pages of 4096 bytes.

    One MiB is 256 pages, of which 15/16 = 240 are filled: 47 windows, with the pages of the tree.
    """
    cache = open_cache(1 << 20)
    for number in range(45):
        fill(cache, number)
    assert cache.stats.entries == 45
    for number in range(45, 60):
        fill(cache, number)
        held = [other for other in range(60) if is_held(cache, other)]
        assert held == list(range(held[0], number + 1))  # the newest, without a gap
        assert cache.stats.bytes_held <= 1 << 20
    assert len(held) > 35  # they went in batches of a sixteenth, not all at once


def is_held(cache: WindowCache, number: int) -> bool:
    def absent(out: Frames) -> None:
        raise LookupError

    try:
        return cache.fill(key(number), np.empty(SHAPE, np.uint8), absent)
    except LookupError:
        return False


def test_the_file_stays_within_the_limit_however_much_passes_through(
    tmp_path: Path, open_cache: Callable[..., WindowCache], caplog: pytest.LogCaptureFixture
) -> None:
    cache = open_cache(1 << 20)
    random = np.random.default_rng(0)
    for number in range(400):  # of 1 to 25 pages each
        frames = (random.random(SHAPE) < random.uniform(0, 0.28)).astype(np.uint8)
        cache.fill(key(number), np.empty(SHAPE, np.uint8), lambda out, frames=frames: np.copyto(out, frames))  # type: ignore[misc]
        assert is_held(cache, number)
    assert (tmp_path / "windows" / "data.mdb").stat().st_size <= 1 << 20
    assert caplog.records == []


def test_a_limit_below_one_window_stores_nothing_and_says_so_once(
    open_cache: Callable[..., WindowCache], caplog: pytest.LogCaptureFixture
) -> None:
    cache = open_cache(10_000)
    assert [fill(cache, number) for number in (1, 1, 2)] == [False] * 3
    assert cache.stats.entries == 0
    assert said(caplog, "may hold 0.01 MB") == 1


def test_a_full_disk_stops_the_storing_for_a_while_and_never_the_rendering(tmp_path: Path) -> None:
    script = """
import logging, resource
logging.basicConfig(stream=sys.stdout, format="%(message)s")
cache = WindowCache.open(folder, 1 << 26)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
for turn in range(2):
    for number in range(30):
        cache.fill(key(number), frames, lambda out: rendered(number, out))
        wanted = np.empty_like(frames)
        rendered(number, wanted)
        assert (frames == wanted).all()
print("renders", cache.stats.renders, "entries", cache.stats.entries)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
cache._resume_s = 0.0  # a minute later
print("again", [cache.fill(key(29), frames, lambda out: rendered(29, out)) for _ in range(2)])
"""
    process = start(script, tmp_path / "windows")
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    *sentences, counts, again = output.splitlines()
    assert len(sentences) == 1
    assert "cannot be stored" in sentences[0]
    _, renders, _, entries = counts.split()
    assert 0 < int(entries) < 12  # 200 kB hold no more than 11 windows of 17.3 kB
    assert int(renders) == 60 - int(entries)
    assert again == "again [False, True]"  # there is room again


@pytest.mark.parametrize("damage", ["noise", "cut", "another version"])
def test_a_damaged_cache_is_made_anew_and_says_so(
    damage: str, tmp_path: Path, open_cache: Callable[..., WindowCache], caplog: pytest.LogCaptureFixture
) -> None:
    first = WindowCache.open(tmp_path / "windows", ROOM)
    fill(first, 1)
    first.close()
    file = tmp_path / "windows" / "data.mdb"
    if damage == "noise":
        file.write_bytes(np.random.default_rng(0).bytes(50_000))
    elif damage == "cut":
        os.truncate(file, 12_288)
    else:
        content = bytearray(file.read_bytes())
        for page in (0, 4096):  # LMDB's two meta pages: a head of 16 bytes, a magic number, the version
            content[page + 20 : page + 24] = (77).to_bytes(4, "little")
        file.write_bytes(content)
    cache = open_cache()
    assert [fill(cache, 1), fill(cache, 1)] == [False, True]
    assert said(caplog, "is damaged") == 1


@pytest.mark.parametrize(("field", "words"), [("boot", "before this machine started"), ("layout", "another version")])
def test_a_cache_of_another_boot_or_version_is_made_anew(
    field: str, words: str, tmp_path: Path, open_cache: Callable[..., WindowCache], caplog: pytest.LogCaptureFixture
) -> None:
    first = WindowCache.open(tmp_path / "windows", ROOM)
    fill(first, 1)
    first.close()
    identity = tmp_path / "windows" / "identity.json"
    identity.write_text(json.dumps(json.loads(identity.read_text()) | {field: "x"}))
    with caplog.at_level(logging.INFO):
        assert not fill(open_cache(), 1)
    assert said(caplog, words) == 1


def test_a_damaged_window_is_rendered_and_stored_again(
    tmp_path: Path, open_cache: Callable[..., WindowCache], caplog: pytest.LogCaptureFixture
) -> None:
    cache = open_cache()
    cache._store(key(1), encode(fresh(1))[:-100].copy())
    cache._store(key(2), encode(fresh(2)[:, :, :50]))  # of another size
    assert [fill(cache, number) for number in (1, 1, 2, 2)] == [False, True, False, True]
    assert said(caplog, "is damaged") == 1


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file: cannot hold the window cache"):
        WindowCache.open(tmp_path / "file", ROOM)


def test_a_cache_that_vanished_is_made_again_where_it_was(tmp_path: Path) -> None:
    cache = WindowCache.open(tmp_path / "windows", ROOM)
    fill(cache, 1)
    cache.close()
    copy = pickle.loads(pickle.dumps(cache))
    (tmp_path / "windows").rename(tmp_path / "elsewhere")
    assert [fill(copy, 1), fill(copy, 1)] == [False, True]
    copy.close()


def test_a_pickled_cache_reads_the_same_windows_in_this_process(open_cache: Callable[..., WindowCache]) -> None:
    cache = open_cache()
    fill(cache, 1)
    copy = pickle.loads(pickle.dumps(cache))
    assert fill(copy, 1)
    copy.close()
    assert fill(cache, 1)  # closing one handle leaves the other open


def test_a_cache_pickled_into_another_process_is_opened_there(
    tmp_path: Path, open_cache: Callable[..., WindowCache]
) -> None:
    cache = open_cache()
    fill(cache, 1)
    script = """
import pickle
cache = pickle.loads(bytes.fromhex(sys.argv[2]))
print([cache.fill(key(number), frames, lambda out: rendered(number, out)) for number in (1, 2)])
"""
    process = start(script, tmp_path, pickle.dumps(cache).hex())
    assert process.communicate(timeout=60)[0] == "[True, False]\n"
    assert fill(cache, 2)


def test_parent_and_forked_child_go_on_with_the_cache(tmp_path: Path) -> None:
    script = """
cache = WindowCache.open(folder, 1 << 26)
cache.fill(key(1), frames, lambda out: rendered(1, out))
pid = os.fork()
if pid == 0:
    found = cache.fill(key(1), frames, lambda out: rendered(1, out))
    cache.fill(key(2), frames, lambda out: rendered(2, out))
    with cache._environment.opened() as opened:  # LMDB knows the child by its own number, not by its parent's
        known = str(os.getpid()) in opened.env.readers()
    os._exit(0 if found and known else 1)
assert os.waitpid(pid, 0)[1] == 0
print([cache.fill(key(number), frames, lambda out: rendered(number, out)) for number in (1, 2, 3)])
"""
    process = start(script, tmp_path / "windows")
    assert process.communicate(timeout=60)[0] == "[True, True, False]\n"


def test_handles_of_different_limits_share_a_folder(tmp_path: Path, open_cache: Callable[..., WindowCache]) -> None:
    small = open_cache(1 << 20)
    fill(small, 0)
    script = """
cache = WindowCache.open(folder, 1 << 26)
for number in range(200):
    cache.fill(key(number), frames, lambda out: rendered(number, out))
print(cache.stats.entries)
"""
    assert start(script, tmp_path / "windows").communicate(timeout=60)[0] == "200\n"
    assert fill(small, 199)  # beyond what the small one had mapped
    assert open_cache(1 << 26).stats.entries == 200


SETTINGS = {"time_steps": 4, "scale": 0.5, "representation": {"name": "histo3d", "bins": 2}, "most": None}


@pytest.mark.parametrize(
    "changed",
    [
        {"time_steps": 5},
        {"scale": 0.25},
        {"representation": {"name": "surface", "bins": 2}},
        {"representation": {"name": "histo3d", "bins": 3}},
        {"most": 10},
        {"another": 1},
    ],
)
def test_every_setting_of_the_rendering_changes_the_key(changed: dict[str, object]) -> None:
    assert window_key(SETTINGS | changed, "a" * 64, 0, 50) != window_key(SETTINGS, "a" * 64, 0, 50)


def test_recording_and_borders_change_the_key() -> None:
    keys = {
        window_key(SETTINGS, *rest) for rest in [("a", 1, 23), ("b", 1, 23), ("a", 12, 3), ("a", 1, 24), ("a1", 1, 2)]
    }
    assert len(keys) == 5


def test_the_key_does_not_depend_on_the_order_of_settings_nor_on_the_kind_of_number() -> None:
    turned = dict(reversed(SETTINGS.items()))
    assert window_key(turned, "a", np.int64(1), np.int64(2)) == window_key(SETTINGS, "a", 1, 2)  # type: ignore[arg-type]


def test_a_new_way_of_rendering_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = window_key(SETTINGS, "a", 1, 2)
    monkeypatch.setattr(window_cache, "RENDER_VERSION", window_cache.RENDER_VERSION + 1)
    assert window_key(SETTINGS, "a", 1, 2) != before
