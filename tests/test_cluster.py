"""cluster.yaml is what Ray's `ray up` accepts, installs the project everywhere, and opens nothing to the world."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parent.parent


@pytest.fixture
def cluster() -> dict[str, Any]:
    """As `ray up` sees it: read, and filled with Ray's defaults for AWS."""
    prepared: dict[str, Any] = prepare_config(yaml.safe_load((ROOT / "cluster.yaml").read_text()))
    return prepared


def listening_everywhere(commands: list[str]) -> list[str]:
    """The commands that bind something to every address, told so or for want of being told otherwise."""
    told = [command for command in commands if re.search(r"0\.0\.0\.0|\[?::\]?(?=[\s:]|$)|host[= ]\*", command)]
    untold = [
        command
        for command in commands
        if ("ray start --head" in command and "--dashboard-host" not in command)
        or (re.search(r"mlflow server (?!')", command) and "--host" not in command)
    ]
    return told + untold


def test_rays_own_schema_and_rules_accept_it(cluster: dict[str, Any]) -> None:
    validate_config(cluster)


def test_rays_rules_refuse_a_cluster_with_an_unknown_key(cluster: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="hed_node_type"):
        validate_config({**cluster, "hed_node_type": "head"})


def test_the_head_has_no_gpu_and_the_workers_are_spot_machines_with_one(cluster: dict[str, Any]) -> None:
    types = dict(cluster["available_node_types"])
    head = types.pop(cluster["head_node_type"])
    (worker,) = types.values()
    assert head["resources"] == {"CPU": 0}
    assert worker["resources"]["GPU"] == 1
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert (worker["min_workers"], worker["max_workers"], cluster["max_workers"]) == (0, 8, 8)
    assert worker["node_config"]["ImageId"] == head["node_config"]["ImageId"]


@pytest.mark.parametrize("machines", ["head_setup_commands", "worker_setup_commands"])
def test_every_machine_installs_the_project_as_pinned(cluster: dict[str, Any], machines: str) -> None:
    # prepare_config has joined the commands for every machine with those for these machines.
    assert any("cd ~/spiketune && ./environment.sh cluster" in command for command in cluster[machines])
    script = (ROOT / "environment.sh").read_text()
    assert re.search(r"^ *set -- install .*-c constraints\.txt", script, re.MULTILINE)
    assert len(re.findall(r"-m pip", script)) == len(re.findall(r'-m pip (?:--quiet )?"\$@"', script)) == 2


def test_every_machine_gets_all_that_an_installation_reads_and_no_more(cluster: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["setuptools"]["packages"]
    read = {
        *(name for name in packages if "." not in name),
        project["project"]["readme"],
        *project["project"]["license-files"],
    }
    read |= {"pyproject.toml", "constraints.txt", "environment.sh", "search_spaces"}
    mounts = {remote: local for remote, local in cluster["file_mounts"].items() if remote.startswith("~/spiketune/")}
    assert set(mounts.values()) == read
    assert all(remote == f"~/spiketune/{local}" for remote, local in mounts.items())


def test_mlflow_runs_on_the_head_only_and_every_machine_knows_where(cluster: dict[str, Any]) -> None:
    server = [command for command in cluster["head_start_ray_commands"] if "bin/mlflow server" in command]
    assert len(server) == 1
    assert "--backend-store-uri sqlite:///$HOME/mlflow/mlflow.db" in server[0]
    assert not any("mlflow server" in command for command in cluster["worker_start_ray_commands"])
    for commands in (cluster["head_start_ray_commands"], cluster["worker_start_ray_commands"]):
        (start,) = (command for command in commands if "ray start" in command)
        assert re.search(r"export [^;]*MLFLOW_TRACKING_URI=http://\$\S.*:5000;", start)


def test_every_ray_asks_for_the_token_and_may_open_many_files(cluster: dict[str, Any]) -> None:
    for commands in (cluster["head_start_ray_commands"], cluster["worker_start_ray_commands"]):
        (start,) = (command for command in commands if "ray start" in command)
        assert re.search(r"export [^;]*RAY_AUTH_MODE=token", start)
        assert start.index("ulimit -n 65536") < start.index("ray start")
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "RAY_AUTH_TOKEN=" not in (ROOT / "cluster.yaml").read_text()


def test_nothing_listens_to_the_world(cluster: dict[str, Any]) -> None:
    assert listening_everywhere(cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"]) == []
    assert "security_group" not in cluster["provider"]  # Ray's own lets in ssh and the cluster's machines, no more
    (start,) = (command for command in cluster["head_start_ray_commands"] if "ray start" in command)
    assert "--dashboard-host 127.0.0.1" in start


@pytest.mark.parametrize(
    "command",
    [
        "ray start --head --dashboard-host 0.0.0.0",
        "ray start --head --port=6379",
        "mlflow server --port 5000",
        "mlflow server --host 0.0.0.0",
        "mlflow server --host :: --port 5000",
    ],
)
def test_a_command_that_listens_to_the_world_is_found(command: str) -> None:
    assert listening_everywhere([command]) == [command]


def test_three_places_are_marked_to_edit() -> None:
    assert re.findall(r"# (EDIT \d):", (ROOT / "cluster.yaml").read_text()) == ["EDIT 1", "EDIT 2", "EDIT 3"]
