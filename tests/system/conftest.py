"""One cluster on hosts for all tests that use it, which run last and one file after the other."""

from collections.abc import Iterator

import pytest

from tests.system.hosts import hosts
from tests.system.ray_hosts import Cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # What it costs while it idles shall not be taken from other tests.
    items.sort(key=lambda item: "cluster" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of h1, h2 and h3, raised with `ray up`; skipped where there can be no hosts."""
    with hosts(tmp_path_factory.mktemp("hosts") / "machines") as machines:
        raised = Cluster(machines)
        try:
            raised.up()
            yield raised
        finally:
            machines.collect_logs(tmp_path_factory.getbasetemp() / "hosts-logs")
            raised.close()
