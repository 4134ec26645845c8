"""A real S3 server on this machine, and a network in front of it that fails."""

import contextlib
import logging
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "recordings"
KEYS = {"AWS_ACCESS_KEY_ID": "anyone", "AWS_SECRET_ACCESS_KEY": "anything"}


@dataclass(frozen=True)
class S3Server:
    """An S3 with one bucket, that lets everybody in."""

    port: int

    def url(self, folder: str, port: int | None = None) -> str:
        """A location in the bucket; `port` may be that of a proxy."""
        return f"s3://{BUCKET}/{folder}?endpoint_override=127.0.0.1:{port or self.port}&scheme=http"

    def objects(self, folder: str) -> list[str]:
        """What anybody sees below a folder, as told by Amazon's own library."""
        with contextlib.closing(self.client()) as client:
            listed = client.list_objects_v2(Bucket=BUCKET, Prefix=f"{folder}/")
        keys = [entry["Key"].removeprefix(f"{folder}/") for entry in listed.get("Contents", [])]
        return [key for key in keys if not key.endswith("/")]  # pyarrow marks the folder of a removed object so

    def client(self) -> Any:
        """Amazon's own library, connected."""
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id="a",
            aws_secret_access_key="b",
        )

    @contextmanager
    def strict(self) -> Iterator[None]:
        """A time in which the server asks who is there, and knows nobody."""
        self._trusted_requests("0")
        try:
            yield
        finally:
            self._trusted_requests("1000000000")

    def _trusted_requests(self, count: str) -> None:
        address = f"http://127.0.0.1:{self.port}/moto-api/reset-auth"
        request = urllib.request.Request(
            address, data=count.encode(), headers={"Content-Type": "text/plain"}, method="POST"
        )
        urllib.request.urlopen(request, timeout=10).close()


@contextmanager
def s3_server() -> Iterator[S3Server]:
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        running = S3Server(port)
        with contextlib.closing(running.client()) as client:
            client.create_bucket(Bucket=BUCKET)
        yield running
    finally:
        server.stop()


class Proxy:
    """Passes connections on, and begins to cut them when they have carried some bytes in one direction.

    Args:
        port: where to.
        up: whether bytes to the server count, or those from it.
        after_bytes: of all connections, before the first cut.
        times: how many connections are cut; the others pass.
        instead: done in place of a cut, before the bytes pass.
    """

    def __init__(
        self, port: int, *, up: bool, after_bytes: int, times: int, instead: Callable[[], None] | None = None
    ) -> None:
        self._target, self._up, self._after, self._times, self._instead = port, up, after_bytes, times, instead
        self._lock = threading.Lock()
        self.cuts = 0
        self.carried = 0  # bytes in that direction, of all connections
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[threading.Thread] = []
        self._server = threading.Thread(target=self._serve, daemon=True)
        self._server.start()

    def close(self) -> None:
        """Take no more connections, and end those there are."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._server.join()
        self._listener.close()
        for connection in self._connections:
            connection.join(timeout=10)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(threading.Thread(target=self._connect, args=(client,), daemon=True))
            self._connections[-1].start()

    def _connect(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            down = threading.Thread(target=self._pass, args=(server, client, False), daemon=True)
            down.start()
            self._pass(client, server, True)
            down.join()

    def _pass(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if up == self._up:
                    self.carried += len(data)
                    if self.carried > self._after and self._cut_is_due():
                        break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _cut_is_due(self) -> bool:
        with self._lock:
            if self.cuts >= self._times:
                return False
            self.cuts += 1
        if self._instead is not None:
            self._instead()
        return self._instead is None
