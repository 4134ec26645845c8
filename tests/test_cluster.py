"""The files of cluster/ are what `ray up` accepts, install the project everywhere, and open nothing to the world.

KubeRay's is held against the fields of its reference; its own validation needs a Kubernetes cluster.
"""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tuner.cli import app

ROOT = Path(__file__).parent.parent
CLOUDS = {"cluster.yaml": "aws", "cluster/gcp.yaml": "gcp", "cluster/azure.yaml": "azure"}
FILES = [*CLOUDS, "cluster/onprem.yaml"]
# What marks a machine of the spot market.
SPOT: dict[str, dict[str, Any]] = {
    "cluster.yaml": {"InstanceMarketOptions": {"MarketType": "spot"}},
    "cluster/gcp.yaml": {
        "scheduling": {
            "provisioningModel": "SPOT",
            "instanceTerminationAction": "DELETE",
            "onHostMaintenance": "TERMINATE",
        }
    },
    "cluster/azure.yaml": {"priority": "Spot"},
}


def read(name: str) -> dict[str, Any]:
    """As `ray up` sees it: read, and filled with Ray's defaults for the provider."""
    prepared: dict[str, Any] = prepare_config(yaml.safe_load((ROOT / name).read_text()))
    return prepared


@pytest.fixture(params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cluster(name: str) -> dict[str, Any]:
    return read(name)


def commands(cluster: dict[str, Any]) -> list[str]:
    """Every command that is given to a machine."""
    lists = ("head_setup_commands", "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")
    return [command for name in lists for command in cluster[name]]


def listening_everywhere(commands: list[str]) -> list[str]:
    """The commands that bind something to every address, told so or for want of being told otherwise."""
    told = [
        command
        for command in commands
        if re.search(r"0\.0\.0\.0|(?<![\w-])\[?::\]?(?=[\s:]|$)|host[= ]\*|--public", command)
    ]
    untold = [
        command
        for command in commands
        if ("ray start --head" in command and not ("--dashboard-host" in command and "--node-ip-address" in command))
        or (re.search(r"mlflow server (?!')", command) and "--host" not in command)
        or ("services start" in command and "--address" not in command)
    ]
    return told + untold


def test_rays_own_schema_and_rules_accept_it(cluster: dict[str, Any]) -> None:
    validate_config(cluster)


def test_rays_rules_refuse_a_cluster_with_an_unknown_key(cluster: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="hed_node_type"):
        validate_config({**cluster, "hed_node_type": "head"})


def test_a_shell_reads_every_command(cluster: dict[str, Any]) -> None:
    for command in commands(cluster):
        done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), command


@pytest.mark.parametrize("name", CLOUDS)
def test_the_head_has_no_gpu_and_the_workers_are_spot_machines_with_one(name: str) -> None:
    cluster = read(name)
    assert cluster["provider"]["type"] == CLOUDS[name]
    types = dict(cluster["available_node_types"])
    head = types.pop(cluster["head_node_type"])
    (worker,) = types.values()
    assert head["resources"] == {"CPU": 0}
    assert worker["resources"]["GPU"] == 1
    assert (worker["min_workers"], worker["max_workers"], cluster["max_workers"]) == (0, 8, 8)
    told = [node["node_config"].get("azure_arm_parameters", node["node_config"]) for node in (worker, head)]
    assert SPOT[name].items() <= told[0].items()
    image = {"ImageId", "disks", "imageOffer", "imageSku"}
    assert [{key: node[key] for key in image & node.keys()} for node in told[:1]] == [
        {key: node[key] for key in image & node.keys()} for node in told[1:]
    ]


def test_no_trial_runs_on_the_head_of_ones_own_machines() -> None:
    (start,) = (command for command in read("cluster/onprem.yaml")["head_start_ray_commands"] if "ray start" in command)
    assert "--num-cpus=0" in start


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
    needed = {
        *(name for name in packages if "." not in name),
        project["project"]["readme"],
        *project["project"]["license-files"],
    }
    needed |= {"pyproject.toml", "constraints.txt", "environment.sh", "search_spaces"}
    mounts = {remote: local for remote, local in cluster["file_mounts"].items() if remote.startswith("~/spiketune/")}
    assert set(mounts.values()) == needed
    assert all(remote == f"~/spiketune/{local}" for remote, local in mounts.items())


def test_the_services_are_started_on_the_head_only_before_ray_and_with_the_keeper(cluster: dict[str, Any]) -> None:
    start = cluster["head_start_ray_commands"]
    (services,) = (place for place, command in enumerate(start) if "spiketune services start" in command)
    (ray,) = (place for place, command in enumerate(start) if "ray start --head" in command)
    assert services < ray
    assert "--keep-jobs" in start[services]
    assert any("postgresql" in command for command in cluster["head_setup_commands"])
    others = cluster["worker_setup_commands"] + cluster["worker_start_ray_commands"]
    assert not any("services start" in command or "install -y postgresql" in command for command in others)


def test_every_command_knows_the_shared_folder_and_the_token_mode(cluster: dict[str, Any]) -> None:
    for machines in ("head_setup_commands", "worker_setup_commands"):
        text = "\n".join(cluster[machines])
        assert re.search(r"echo 'export [^']*SPIKETUNE_SHARED=/shared' > ~/spiketune\.env", text)
        assert re.search(r"echo 'export RAY_AUTH_MODE=token [^']*' >> ~/spiketune\.env", text)
    for command in cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"]:
        assert command.startswith(". ~/spiketune.env;") or "ray " not in command.replace("spiketune", "")


def test_every_ray_asks_for_the_token_and_may_open_many_files(name: str, cluster: dict[str, Any]) -> None:
    for machines in (cluster["head_start_ray_commands"], cluster["worker_start_ray_commands"]):
        (start,) = (command for command in machines if "ray start" in command)
        assert start.index("ulimit -n 65536") < start.index("ray start")
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in cluster["head_setup_commands"]
    assert "RAY_AUTH_TOKEN=" not in (ROOT / name).read_text()


@pytest.mark.parametrize("name", CLOUDS)
def test_spot_workers_watch_for_the_warning_of_their_own_provider(name: str) -> None:
    (watch,) = (command for command in read(name)["worker_start_ray_commands"] if "nohup setsid spiketune" in command)
    assert f"spiketune watch-spot {CLOUDS[name]} --address $RAY_HEAD_IP:6379 " in watch


def test_nothing_listens_to_the_world(cluster: dict[str, Any]) -> None:
    assert listening_everywhere(cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"]) == []
    assert "security_group" not in cluster["provider"]  # Ray's own lets in ssh and the cluster's machines, no more
    (start,) = (command for command in cluster["head_start_ray_commands"] if "ray start" in command)
    assert "--dashboard-host 127.0.0.1" in start


@pytest.mark.parametrize(
    "command",
    [
        "ray start --head --node-ip-address=10.0.0.1 --dashboard-host 0.0.0.0",
        "ray start --head --node-ip-address=10.0.0.1 --port=6379",
        "ray start --head --dashboard-host 127.0.0.1",
        "mlflow server --port 5000",
        "mlflow server --host 0.0.0.0",
        "mlflow server --host :: --port 5000",
        "spiketune services start",
        "spiketune services start --address 10.0.0.1 --public",
    ],
)
def test_a_command_that_listens_to_the_world_is_found(command: str) -> None:
    assert listening_everywhere([command]) == [command]


@pytest.mark.parametrize("name", [*FILES, "cluster/kuberay.yaml"])
def test_three_places_are_marked_to_edit(name: str) -> None:
    assert re.findall(r"# (EDIT \d):", (ROOT / name).read_text()) == ["EDIT 1", "EDIT 2", "EDIT 3"]


def unknown_options(command: str) -> list[str]:
    """The options of the first `spiketune` in a command that it does not have."""
    words = shlex.split(command.partition("spiketune ")[2].partition(" > ")[0].partition(" && ")[0].replace("$(", "x"))
    group: Any = typer.main.get_command(app)
    while hasattr(group, "commands"):
        group = group.commands[words.pop(0)]
    known = {option for parameter in group.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return [word for word in words if word.startswith("--") and word not in known]


def test_every_command_of_ours_has_the_options_that_it_is_given(cluster: dict[str, Any]) -> None:
    ours = [found for command in commands(cluster) for found in re.findall(r"(?<![./~\]])\bspiketune [a-z].*", command)]
    assert ours
    assert {command: wrong for command in ours if (wrong := unknown_options(command))} == {}


# --- KubeRay ----------------------------------------------------------------------------------------------------

# Of the reference of ray.io/v1 at KubeRay 1.7: the fields that must be there, and those that may.
RAY_CLUSTER = (
    {"headGroupSpec"},
    {"rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "workerGroupSpecs"},
)
HEAD_GROUP = ({"template"}, {"rayStartParams", "serviceType"})
WORKER_GROUP = ({"groupName", "template", "minReplicas", "maxReplicas"}, {"replicas", "rayStartParams"})
RAY_JOB = ({"entrypoint", "clusterSelector"}, {"submissionMode", "shutdownAfterJobFinishes"})


def check_fields(spec: dict[str, Any], rules: tuple[set[str], set[str]]) -> None:
    needed, allowed = rules
    assert needed <= spec.keys() <= needed | allowed, sorted(spec)


@pytest.fixture
def kubernetes() -> dict[str, dict[str, Any]]:
    """The objects of kuberay.yaml, by kind and name."""
    objects = yaml.safe_load_all((ROOT / "cluster/kuberay.yaml").read_text())
    return {f"{found['kind']}/{found['metadata']['name']}": found for found in objects}


def test_kuberays_objects_have_the_fields_of_its_reference(kubernetes: dict[str, dict[str, Any]]) -> None:
    cluster, job = kubernetes["RayCluster/spiketune"], kubernetes["RayJob/etram3"]
    assert {cluster["apiVersion"], job["apiVersion"]} == {"ray.io/v1"}
    check_fields(cluster["spec"], RAY_CLUSTER)
    check_fields(cluster["spec"]["headGroupSpec"], HEAD_GROUP)
    for group in cluster["spec"]["workerGroupSpecs"]:
        check_fields(group, WORKER_GROUP)
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    check_fields(job["spec"], RAY_JOB)
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    pins = (ROOT / "constraints.txt").read_text()
    assert f"\nray=={cluster['spec']['rayVersion']}\n" in pins


def test_every_volume_of_a_pod_is_there(kubernetes: dict[str, dict[str, Any]]) -> None:
    spec = kubernetes["RayCluster/spiketune"]["spec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes.keys()
            assert {"name": "SPIKETUNE_SHARED", "value": "/shared"} in container["env"]
            assert container["resources"]["limits"] == container["resources"]["requests"]
        claims = [volume["persistentVolumeClaim"]["claimName"] for volume in volumes.values() if "secret" not in volume]
        assert all(f"PersistentVolumeClaim/{claim}" in kubernetes for claim in claims)


def test_the_pods_are_reached_by_the_cluster_alone_and_run_as_nobody_special(
    kubernetes: dict[str, dict[str, Any]],
) -> None:
    spec = kubernetes["RayCluster/spiketune"]["spec"]
    assert (
        spec["headGroupSpec"]["serviceType"] == kubernetes["Service/spiketune-services"]["spec"]["type"] == "ClusterIP"
    )
    policy = kubernetes["NetworkPolicy/spiketune"]["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    assert all(rule["from"] for rule in policy["ingress"])  # an empty one would let in all
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert group["template"]["spec"]["securityContext"]["runAsNonRoot"] is True


def test_kuberays_commands_of_ours_have_the_options_that_they_are_given(kubernetes: dict[str, dict[str, Any]]) -> None:
    head = kubernetes["RayCluster/spiketune"]["spec"]["headGroupSpec"]["template"]["spec"]
    (services,) = (container for container in head["containers"] if container["name"] == "services")
    assert unknown_options(services["args"][0]) == []
    assert unknown_options(" ".join(services["lifecycle"]["preStop"]["exec"]["command"])) == []
    entry = kubernetes["RayJob/etram3"]["spec"]["entrypoint"]
    assert unknown_options(entry.partition("exec ")[2].rstrip("'")) == []
