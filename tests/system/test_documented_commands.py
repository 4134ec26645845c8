"""The documented commands that take long, because they search or need what a search left: each is run as it stands."""

import json
from pathlib import Path

import pytest

from tests.documented import Documented, Kit, Sandbox, all_documented, elsewhere, is_quick
from tests.system.command import run, small_spec

pytestmark = pytest.mark.system

TO_RUN = [
    command
    for command in all_documented()
    if command.words[0] == "spiketune" and elsewhere(command) is None and not is_quick(command)
]
SPEC = small_spec("small", trials=2, epochs=1).replace("windows_per_epoch: 8", 'windows_per_epoch: 2, compile: "off"')
AWAKE = {"RAY_worker_niceness": "0"}  # beside other work, Ray's own 15 would starve its workers


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """One small search, and what it was made of."""
    folder = tmp_path_factory.mktemp("kit")
    (folder / "small.yaml").write_text(SPEC, encoding="utf-8")
    simulate = Sandbox(folder, Kit(folder, folder, folder)).arguments(Documented("", "spiketune simulate recordings"))
    run(folder, tuple(simulate))
    run(folder, ("ingest", "recordings", "dataset", "--labels", "etram8"))
    found = json.loads(
        run(folder, ("search", "small.yaml", "--data", str(folder / "dataset"), "--json"), **AWAKE).stdout
    )
    search = (folder / found["folder"]).rename(folder / "search")
    return Kit(folder / "recordings", folder / "dataset", search / "best.safetensors", search)


@pytest.mark.parametrize("page", sorted({command.page for command in TO_RUN}))
def test_the_commands_of_a_page_work_in_their_order(page: str, kit: Kit, tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path, kit, SPEC)
    for command in (command for command in TO_RUN if command.page == page):
        run(tmp_path, tuple(sandbox.arguments(command)), **AWAKE)
