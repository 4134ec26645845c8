"""The warning of a spot market, from a local server that answers as each provider's documentation says its own does."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from tuner.services.spot_notice import Notice, Provider, notice, watch

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
AZURE_EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
AZURE_NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
Answer = tuple[int, str]


class Metadata(BaseHTTPRequestHandler):
    """Answers what the test put there; what needs a header is refused without it, as the providers do."""

    answers: ClassVar[dict[str, Answer]] = {}
    needed: ClassVar[tuple[str, str]] = ("", "")

    def do_GET(self) -> None:
        name, value = self.needed
        allowed = not name or self.headers.get(name) == value
        self.answer(*(self.answers.get(self.path, (404, "")) if allowed else (401, "")))

    def do_PUT(self) -> None:
        token = self.path == "/latest/api/token" and self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
        self.answer(*((200, "the-token") if token else (400, "")))

    def answer(self, code: int, text: str) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@contextmanager
def metadata(needed: tuple[str, str], answers: dict[str, Answer]) -> Iterator[str]:
    handler = type("Handler", (Metadata,), {"answers": answers, "needed": needed})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


AWS = ("X-aws-ec2-metadata-token", "the-token")
GOOGLE = ("Metadata-Flavor", "Google")
AZURE = ("Metadata", "true")
ACTION = "/latest/meta-data/spot/instance-action"
PREEMPTED = "/computeMetadata/v1/instance/preempted"


def event(kind: str, machines: list[str], begins: str) -> dict[str, object]:
    return {"EventId": "A1", "EventType": kind, "Resources": machines, "EventStatus": "Scheduled", "NotBefore": begins}


def events(*found: dict[str, object]) -> Answer:
    return 200, json.dumps({"DocumentIncarnation": 1, "Events": found})


@pytest.mark.parametrize(
    ("provider", "needed", "answers", "expected"),
    [
        (Provider.AWS, AWS, {}, None),
        (Provider.AWS, AWS, {ACTION: (200, '{"action": "terminate", "time": "2026-05-04T12:02:00Z"}')}, Notice(120)),
        (Provider.AWS, AWS, {ACTION: (200, '{"action": "stop", "time": "2026-05-04T11:59:00Z"}')}, Notice(0)),
        (Provider.GCP, GOOGLE, {PREEMPTED: (200, "FALSE")}, None),
        (Provider.GCP, GOOGLE, {PREEMPTED: (200, "TRUE")}, Notice(30)),
        (Provider.AZURE, AZURE, {AZURE_EVENTS: events()}, None),
        (
            Provider.AZURE,
            AZURE,
            {
                AZURE_NAME: (200, "worker-2"),
                AZURE_EVENTS: events(
                    event("Freeze", ["worker-2"], "Mon, 04 May 2026 12:00:05 GMT"),
                    event("Preempt", ["worker-1"], "Mon, 04 May 2026 12:00:10 GMT"),
                    event("Preempt", ["worker-2"], "Mon, 04 May 2026 12:00:30 GMT"),
                ),
            },
            Notice(30),
        ),
        (
            Provider.AZURE,
            AZURE,
            {AZURE_NAME: (200, "worker-2"), AZURE_EVENTS: events(event("Preempt", ["worker-1"], ""))},
            None,
        ),
        (
            Provider.AZURE,
            AZURE,
            {AZURE_NAME: (200, "worker-1"), AZURE_EVENTS: events(event("Preempt", ["worker-1"], ""))},
            Notice(30),
        ),
    ],
)
def test_the_warning_is_read_as_the_provider_gives_it(
    provider: Provider, needed: tuple[str, str], answers: dict[str, Answer], expected: Notice | None
) -> None:
    with metadata(needed, answers) as url:
        assert notice(provider, url, NOW) == expected


def test_the_node_is_drained_once_when_the_warning_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {PREEMPTED: (200, "FALSE")}
    drained: list[Notice] = []
    told: list[str] = []
    with metadata(GOOGLE, answers) as url:
        asked: list[float] = []
        monkeypatch.setattr("tuner.services.spot_notice.time.sleep", turns(asked, answers))
        watch(Provider.GCP, url, 5, drained.append, told.append)
    assert (drained, asked) == ([Notice(30)], [5, 5])
    assert told == ["this machine is taken back in 30 s; draining its node"]


def turns(asked: list[float], answers: dict[str, Answer]) -> Callable[[float], None]:
    """Time that passes: the second time, the machine is wanted back."""

    def sleep(seconds: float) -> None:
        asked.append(seconds)
        if len(asked) == 2:
            answers[PREEMPTED] = (200, "TRUE")

    return sleep


def test_a_service_that_does_not_answer_is_told_once_and_asked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, Answer] = {PREEMPTED: (503, "")}
    drained: list[Notice] = []
    told: list[str] = []
    with metadata(GOOGLE, answers) as url:
        monkeypatch.setattr("tuner.services.spot_notice.time.sleep", turns([], answers))
        watch(Provider.GCP, url, 5, drained.append, told.append)
        assert drained == [Notice(30)]
        assert len(told) == 2
        assert told[0].startswith(f"{url} does not answer as the metadata service of gcp does (HTTP Error 503")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"time": "soon"}'])
def test_an_answer_that_makes_no_sense_is_no_warning(text: str) -> None:
    with metadata(AWS, {ACTION: (200, text)}) as url, pytest.raises(OSError, match="makes no sense"):
        notice(Provider.AWS, url, NOW)
