"""Every storage keeps one contract; over a network that fails, a file comes whole or not at all."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path, PurePosixPath

import pytest

from data import object_storage
from data.errors import InputError
from data.storage import SourceFile, Storage, open_storage, whole_file
from tests.object_store import KEYS, Proxy, S3Server, s3_server

MANY = 10**9
KINDS = ("folder", "file", "s3", "memory")
A, B = PurePosixPath("a.bin"), PurePosixPath("deep/er/b.bin")


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(object_storage, "PAUSES_S", (0.01, 0.02, 0.03))


@pytest.fixture(params=KINDS)
def storage(request: pytest.FixtureRequest, tmp_path: Path, server: S3Server) -> Storage:
    location = {
        "folder": str(tmp_path / "store"),
        "file": (tmp_path / "store").as_uri(),
        "s3": server.url(f"{tmp_path.name}/store"),
        "memory": f"memory://{tmp_path.name}/store",
    }[request.param]
    return open_storage(location)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return tmp_path.name  # its own for every test


def file_of(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_what_is_put_and_written_is_listed_in_order_with_its_size(storage: Storage, tmp_path: Path) -> None:
    storage.put(file_of(tmp_path / "source", b"123"), B)
    storage.write(b"12345", A)
    storage.write(b"", PurePosixPath("deep/a"))
    assert storage.files() == [
        SourceFile(A, 5),
        SourceFile(PurePosixPath("deep/a"), 0),
        SourceFile(B, 3),
    ]


def test_content_comes_back_as_it_went(storage: Storage, tmp_path: Path) -> None:
    content = bytes(range(256)) * 50
    storage.put(file_of(tmp_path / "source", content), B)
    storage.fetch(B, tmp_path / "out" / "b")
    assert (tmp_path / "out" / "b").read_bytes() == content
    assert (storage.read(B), storage.size(B)) == (content, len(content))


def test_an_empty_file_comes_back_empty(storage: Storage, tmp_path: Path) -> None:
    storage.put(file_of(tmp_path / "source", b""), A)
    storage.fetch(A, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b""
    assert (storage.read(A), storage.size(A)) == (b"", 0)


def test_a_file_that_is_not_there_is_none_and_a_folder_is_no_file(storage: Storage) -> None:
    storage.write(b"1", B)
    assert (storage.read(A), storage.size(A), storage.size(PurePosixPath("deep"))) == (None, None, None)
    assert storage.read(B / "below") is None


def test_a_fetch_of_a_file_that_is_not_there_names_it_and_leaves_nothing(storage: Storage, tmp_path: Path) -> None:
    storage.write(b"1", A)
    with pytest.raises(InputError, match=r"deep/er/b\.bin"):
        storage.fetch(B, tmp_path / "out" / "b")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_writing_over_a_file_replaces_it(storage: Storage, tmp_path: Path) -> None:
    storage.write(b"old and long", A)
    storage.put(file_of(tmp_path / "source", b"new"), A)
    assert (storage.read(A), storage.files()) == (b"new", [SourceFile(A, 3)])


def test_a_removed_file_is_gone_and_may_be_removed_again(storage: Storage) -> None:
    storage.write(b"1", A)
    storage.write(b"2", B)
    for _ in range(2):
        storage.remove(A)
    assert [file.path for file in storage.files()] == [B]


def test_hidden_files_and_folders_are_left_out(storage: Storage) -> None:
    for name in (".hidden", ".git/config", "deep/.a.partial", "deep/seen"):
        storage.write(b"1", PurePosixPath(name))
    assert [str(file.path) for file in storage.files()] == ["deep/seen"]


def test_names_with_strange_letters_are_kept(storage: Storage, tmp_path: Path) -> None:
    names = ["with space.h5", "50%25.h5", "a+b=c.h5", "ü/größe.h5", "hash#tag.h5", "(1)/{2}.h5"]
    if not storage.location.startswith("memory"):
        names += ["[3].h5", "what?.h5", "*.h5"]  # fsspec takes these for patterns
    for name in names:
        storage.write(name.encode(), PurePosixPath(name))
    assert [str(file.path) for file in storage.files()] == [
        str(path) for path in sorted(PurePosixPath(name) for name in names)
    ]
    for name in names:
        storage.fetch(PurePosixPath(name), tmp_path / "out")
        assert (tmp_path / "out").read_text("utf-8") == name


def test_a_storage_with_nothing_in_it_is_an_error_unless_it_may_be(storage: Storage) -> None:
    with pytest.raises(InputError, match="store"):
        storage.files()
    assert storage.files(missing_ok=True) == []


def test_a_storage_pickles_as_its_location(storage: Storage) -> None:
    storage.write(b"1", A)
    again = pickle.loads(pickle.dumps(storage))
    assert (again.location, again.local, again.read(A)) == (storage.location, storage.local, b"1")


def test_only_a_plain_folder_is_local(tmp_path: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_storage("data/set").local == tmp_path / "data" / "set"
    assert open_storage("data/set").location == str(tmp_path / "data" / "set")
    assert open_storage(tmp_path.as_uri()).local is None
    assert open_storage(server.url("x")).local is None


def test_a_url_is_told_without_its_options(tmp_path: Path) -> None:
    assert open_storage("s3://b/c/?scheme=http").url(B) == "s3://b/c/deep/er/b.bin"
    assert open_storage("s3://b/c/?scheme=http").location == "s3://b/c?scheme=http"
    assert open_storage(f"file://{tmp_path}/").url(A) == f"file://{tmp_path}/a.bin"


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("", "empty"),
        ("s3:///folder", "names no bucket"),
        ("gs://", "names no bucket"),
        ("s3://b/f?endpoint=x", "unknown option 'endpoint'; known: endpoint_override"),
        ("s3://b/f?scheme=ftp", "scheme=ftp must be one of http, https"),
        ("nosuch://b/f", "'nosuch://' is unknown"),
        ("file://host/share", "three slashes"),
        ("file:///", "names no folder"),
    ],
)
def test_a_location_that_means_nothing_is_refused_at_once(location: str, told: str) -> None:
    with pytest.raises(InputError, match=told.replace("?", r"\?")):
        open_storage(location)


def test_a_password_in_a_location_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError, match="AWS_SECRET_ACCESS_KEY") as caught:
        open_storage("s3://me:hush@bucket/folder")
    assert "hush" not in str(caught.value)


def test_links_are_followed_and_a_loop_of_links_ends(tmp_path: Path) -> None:
    file_of(tmp_path / "disk" / "a", b"12")
    store = tmp_path / "store"
    store.mkdir()
    (store / "one").symlink_to(tmp_path / "disk")
    (store / "two").symlink_to(tmp_path / "disk")
    (store / "three").symlink_to(tmp_path / "disk" / "a")
    (tmp_path / "disk" / "up").symlink_to(store)
    found = [str(file.path) for file in open_storage(store).files()]
    assert found[0] == "one/a"
    assert {"one/a", "two/a", "three"} <= set(found)
    assert all(name.count("/") <= 4 for name in found)


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "far.h5").symlink_to(tmp_path / "gone.h5")
    with pytest.raises(InputError, match=r"far\.h5: is a link to .*gone\.h5, where nothing is"):
        open_storage(tmp_path).files()


def test_a_file_that_is_not_written_to_its_end_has_no_name(tmp_path: Path) -> None:
    file_of(tmp_path / "a", b"before")
    with pytest.raises(TypeError), whole_file(tmp_path / "a") as file:
        file.writelines([b"after", None])  # type: ignore[list-item]
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"before")]


# Over a network that fails

MB = 1 << 20


@pytest.fixture
def content() -> bytes:
    return os.urandom(20 * MB)


@pytest.fixture
def proxy(server: S3Server) -> Iterator[Callable[..., Proxy]]:
    made: list[Proxy] = []

    def make(**options: object) -> Proxy:
        made.append(Proxy(server.port, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_fetch_goes_on_after_a_cut_from_where_it_was(
    server: S3Server, proxy: Callable[..., Proxy], content: bytes, folder: str, tmp_path: Path
) -> None:
    open_storage(server.url(folder)).write(content, A)
    # Requests of 8 MB: 8, 6 of the second, which is cut there, again 8, and 4.
    between = proxy(up=False, after_bytes=14 * MB, times=1)
    storage = open_storage(server.url(folder, between.port))
    assert storage.size(A) == len(content)
    storage.fetch(A, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == content
    assert between.cuts == 1
    assert between.carried < len(content) + 8 * MB


def test_a_fetch_that_is_cut_again_and_again_is_one_error_and_leaves_nothing(
    server: S3Server, proxy: Callable[..., Proxy], content: bytes, folder: str, tmp_path: Path
) -> None:
    open_storage(server.url(folder)).write(content, A)
    between = proxy(up=False, after_bytes=6 * MB, times=MANY)
    with pytest.raises(InputError) as caught:
        open_storage(server.url(folder, between.port)).fetch(A, tmp_path / "out" / "a")
    message = str(caught.value)
    assert message.startswith(f"s3://recordings/{folder}/a.bin: failed 4 times")
    assert "credentials" in message
    assert f"the endpoint http://127.0.0.1:{between.port}" in message
    assert "the bucket's name" in message
    assert "\n" not in message
    assert between.cuts == 4  # three pauses between four tries
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("size", [3 * MB, 20 * MB], ids=["in one request", "in parts"])
def test_an_upload_begins_again_after_a_cut(
    server: S3Server, proxy: Callable[..., Proxy], content: bytes, folder: str, tmp_path: Path, size: int
) -> None:
    between = proxy(up=True, after_bytes=2 * MB, times=1)
    source = file_of(tmp_path / "source", content[:size])
    open_storage(server.url(folder, between.port)).put(source, A)
    assert between.cuts == 1
    assert open_storage(server.url(folder)).read(A) == content[:size]


@pytest.mark.parametrize("size", [3 * MB, 20 * MB], ids=["in one request", "in parts"])
@pytest.mark.parametrize("before", [None, b"before"])
def test_an_upload_that_never_ends_leaves_what_was_there_before(
    server: S3Server, proxy: Callable[..., Proxy], content: bytes, folder: str, tmp_path: Path, size: int,
    before: bytes | None,
) -> None:  # fmt: skip
    direct = open_storage(server.url(folder))
    if before is not None:
        direct.write(before, A)
    between = proxy(up=True, after_bytes=2 * MB, times=MANY)
    source = file_of(tmp_path / "source", content[:size])
    with pytest.raises(InputError, match=rf"s3://recordings/{folder}/a\.bin: failed \d times"):
        open_storage(server.url(folder, between.port)).put(source, A)
    assert direct.read(A) == before


PUT = """
import signal
import sys
from pathlib import Path, PurePosixPath
from data.storage import open_storage
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start what runs in their background without it
print("ready", flush=True)
open_storage(sys.argv[1]).put(Path(sys.argv[2]), PurePosixPath("a.bin"))
open_storage(sys.argv[1]).fetch(PurePosixPath("a.bin"), Path(sys.argv[2] + ".back"))
"""


def start_put(location: str, source: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PUT, location, str(source)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_an_upload_whose_process_is_stopped_leaves_nothing_to_see(
    server: S3Server, proxy: Callable[..., Proxy], folder: str, tmp_path: Path, sent: signal.Signals
) -> None:
    source = file_of(tmp_path / "source", os.urandom(80 * MB))  # the first 64 MB go together
    process: subprocess.Popen[str]
    between = proxy(up=True, after_bytes=2 * MB, times=1, instead=lambda: process.send_signal(sent))
    process = start_put(server.url(folder, between.port), source)
    with process:
        _, told = process.communicate(timeout=60)
    assert between.cuts == 1
    assert process.returncode == -sent
    assert server.objects(folder) == []
    assert "rror ignored" not in told
    assert "inaliz" not in told


def test_a_process_that_used_s3_ends_without_a_word(server: S3Server, folder: str, tmp_path: Path) -> None:
    source = file_of(tmp_path / "source", os.urandom(12 * MB))
    with start_put(server.url(folder), source) as process:
        out, told = process.communicate(timeout=60)
    assert (process.returncode, out, told) == (0, "ready\n", "")
    assert Path(f"{source}.back").read_bytes() == source.read_bytes()


def test_a_server_that_does_not_answer_is_told_of_within_seconds(server: S3Server) -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match=r"failed 3 times.*the endpoint http://127\.0\.0\.1:1 "):
        open_storage(server.url("x", port=1)).read(A)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "act",
    [
        lambda storage, _: storage.files(),
        lambda storage, _: storage.files(missing_ok=True),
        lambda storage, _: storage.read(A),
        lambda storage, _: storage.size(A),
        lambda storage, source: storage.fetch(A, source.with_name("out")),
        lambda storage, source: storage.put(source, A),
    ],
    ids=["files", "files that may be missing", "read", "size", "fetch", "put"],
)
def test_a_bucket_that_is_not_there_is_named(
    server: S3Server, tmp_path: Path, act: Callable[[Storage, Path], object]
) -> None:
    storage = open_storage(server.url("x").replace("recordings", "nowhere"))
    with pytest.raises(InputError, match=r"nowhere.*check the credentials .*the bucket's name"):
        act(storage, file_of(tmp_path / "source", b"1"))


class _Refusing(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_error(403)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def refusing() -> Iterator[int]:
    """The port of a store that lets nobody in, as S3 does without credentials."""
    with HTTPServer(("127.0.0.1", 0), _Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_refusal_is_told_at_once_where_there_are_no_credentials(
    refusing: int, server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    refuses_at_once(server.url("x", refusing), monkeypatch)


def test_a_refusal_is_told_at_once_where_the_credentials_are_unknown(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.strict():
        refuses_at_once(server.url("x"), monkeypatch)


def refuses_at_once(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[float] = []
    monkeypatch.setattr(time, "sleep", tries.append)
    with pytest.raises(InputError, match=r"ACCESS_DENIED.*AWS_ACCESS_KEY_ID"):
        open_storage(location).read(A)
    assert tries == []


def test_the_endpoint_may_come_from_the_environment(
    server: S3Server, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_storage(server.url(folder)).write(b"1", A)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
    assert open_storage(f"s3://recordings/{folder}").read(A) == b"1"
