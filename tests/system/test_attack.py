"""Who has neither token nor password reaches nothing of a cluster from within its network; with them the same works."""

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.system import attacks
from tests.system.hosts import ADDRESS, CLUSTER, HEAD, HOME, OWNER, WORKERS, Hosts
from tests.system.ray_hosts import CLIENT_ENV, JOBS, Cluster
from tests.system.servers import until

pytestmark = pytest.mark.cluster

MLFLOW = f"{ADDRESS[HEAD]}:5000"
# What may be had of MLflow without a password: whether it lives, how it is set up, its pages' own files.
PUBLIC = ("/health", "/static", "/favicon.ico", "server-info")
ACTOR = f"""\
import ray

@ray.remote(num_cpus=0, resources={{"node:{ADDRESS[WORKERS[0]]}": 0.001}})
class Actor:
    def told(self):
        return 42

ray.init(namespace="attack")
print("told", ray.get(Actor.options(name="actor", lifetime="detached").remote().told.remote()))
"""
SECRET_FILES = [f"{HOME}/spiketune-services/client.env".lstrip("/"), "etc/passwd"]
UP_THE_TREE = ["../" * 12, "..%2f" * 12, "%2e%2e/" * 12, "%2e%2e%2f" * 12, "%252e%252e%252f" * 12, "....//" * 12]
UP_THE_TREE += ["..\\" * 12, "..%5c" * 12, "/", "%2f", "//", "file:///", "file%3a%2f%2f%2f", "1/" + "../" * 12]
ARTIFACTS = ["/api/2.0/mlflow-artifacts/artifacts/{}", "/ajax-api/2.0/mlflow-artifacts/artifacts/{}"]
ARTIFACTS += ["/api/2.0/mlflow-artifacts/artifacts?path={}", "/get-artifact?run_uuid=RUN&path={}"]
ARTIFACTS += [
    "/model-versions/get-artifact?name=1&version=1&path={}",
    "/api/2.0/mlflow/artifacts/list?run_id=RUN&path={}",
]


def attack(hosts: Hosts, name: str, which: str, *, token: str | None = None, **arguments: Any) -> Any:
    """Run one of attacks.py on a machine; with Ray's token in the environment, or without."""
    (hosts.machines[name].home / "attacks.py").write_text(Path(attacks.__file__).read_text())
    here = ". ~/spiketune.env; " if name in CLUSTER else ""
    command = f"{here}python ~/attacks.py {which} <<< {shlex.quote(json.dumps(arguments))}"
    environment: dict[str, Any] = {} if token is None else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    return json.loads(hosts.run(name, command, patience_s=400, **environment).stdout.splitlines()[-1])


def wanted(environment: Mapping[str, str]) -> tuple[str, str]:
    return environment["MLFLOW_TRACKING_USERNAME"], environment["MLFLOW_TRACKING_PASSWORD"]


@pytest.fixture(scope="module")
def given(cluster: Cluster) -> dict[str, str]:
    """What the first user was given: addresses and a password."""
    lines = cluster.hosts.run("client", f"cat {CLIENT_ENV}").stdout.splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.fixture(scope="module")
def actor(cluster: Cluster) -> str:
    """A job that was submitted with the token has made an actor, which lives on a worker; what the job said."""
    ask: dict[str, Any] = {"RAY_AUTH_MODE": "token", "RAY_API_SERVER_ADDRESS": JOBS}
    folder = cluster.hosts.machines["client"].home / "actor"
    folder.mkdir()
    (folder / "actor.py").write_text(ACTOR)
    return cluster.hosts.run("client", "ray job submit --working-dir ~/actor -- python actor.py", **ask).stdout


@pytest.fixture(scope="module")
def places(cluster: Cluster, actor: str) -> dict[str, list[str]]:
    """All that can be reached of each host from another one, as HOST:PORT."""
    found = {
        name: sorted({port for where, port in cluster.hosts.listening(name) if "127.0.0.1" not in where})
        for name in CLUSTER
    }
    assert {6379, 8076, 5000, 5432} <= set(found[HEAD])
    return {name: [f"{ADDRESS[name]}:{port}" for port in ports] for name, ports in found.items()}


@pytest.fixture(scope="module")
def calls(cluster: Cluster, places: dict[str, list[str]]) -> dict[str, Counter[str]]:
    """What Ray's methods answered the intruder, by place."""
    everywhere = [place for name in CLUSTER for place in places[name]]
    found = attack(cluster.hosts, "intruder", "ray_calls", places=everywhere)
    return {place: Counter(codes.values()) for place, codes in found.items()}


def test_with_the_token_a_job_is_submitted_and_its_actor_reached(actor: str) -> None:
    assert "told 42" in actor


def test_without_the_token_no_method_of_ray_answers_anywhere(calls: dict[str, Counter[str]]) -> None:
    refused = {"UNAUTHENTICATED", "UNIMPLEMENTED", "UNAVAILABLE", "DEADLINE_EXCEEDED"}
    assert {place: codes for place, codes in calls.items() if set(codes) - refused} == {}


def test_ray_s_own_services_are_where_they_were_looked_for(
    calls: dict[str, Counter[str]], places: dict[str, list[str]]
) -> None:
    asked = {place for place, codes in calls.items() if codes["UNAUTHENTICATED"]}
    assert f"{ADDRESS[HEAD]}:6379" in asked  # the cluster's memory,
    assert f"{ADDRESS[HEAD]}:10001" in asked  # Ray's client,
    for name in CLUSTER:  # each node's manager and, where the actor lives, a worker
        assert len(asked & set(places[name])) >= 2
    assert sum(len(asked & set(places[name])) for name in WORKERS) >= 5


def test_without_the_token_a_wrong_one_does_not_do(cluster: Cluster) -> None:
    found = attack(cluster.hosts, "intruder", "ray_calls", places=[f"{ADDRESS[HEAD]}:6379"], bearer="0" * 64)
    assert set(found[f"{ADDRESS[HEAD]}:6379"].values()) == {"UNAUTHENTICATED", "UNIMPLEMENTED"}


def test_without_the_token_nobody_joins_as_a_node_or_uses_ray_s_client(cluster: Cluster) -> None:
    before = cluster.nodes()
    join = f"timeout 60 ray start --address={ADDRESS[HEAD]}:6379 > join.log 2>&1"
    joined = cluster.hosts.run("intruder", join, check=False)
    program = f"import ray; ray.init('ray://{ADDRESS[HEAD]}:10001'); print(ray.nodes())"
    used = cluster.hosts.run("intruder", f'timeout 60 python -c "{program}"', check=False)
    assert joined.returncode != 0
    assert used.returncode != 0
    assert "NodeID" not in used.stdout
    assert cluster.nodes() == before == set(CLUSTER)


def test_with_the_token_ray_s_client_is_used(cluster: Cluster) -> None:
    found = attack(cluster.hosts, "client", "ray_client", token=cluster.token, address=f"ray://{ADDRESS[HEAD]}:10001")
    assert found[0] in {ADDRESS[name] for name in WORKERS}


def test_the_job_server_is_not_in_the_network_and_asks_for_the_token_on_the_head(cluster: Cluster) -> None:
    paths = ["/api/jobs/", "/api/version", "/nodes?view=summary", "/api/v0/actors", "/logs", "/"]
    post = [("POST", f"{ADDRESS[HEAD]}:8265", '/api/jobs/ {"entrypoint":"true"}')]
    outside = attack(
        cluster.hosts, "intruder", "pages", asked=[*post, *(("GET", f"{ADDRESS[HEAD]}:8265", path) for path in paths)]
    )
    assert [status for status, _ in outside] == [0] * 7
    # Another account of the head reaches its loopback, but has no token.
    post = [("POST", "127.0.0.1:8265", '/api/jobs/ {"entrypoint":"true"}')]
    inside = attack(
        cluster.hosts, HEAD, "pages", asked=[*post, *(("GET", "127.0.0.1:8265", path) for path in paths[:-1])]
    )
    assert {status for status, _ in inside} == {401}


def test_a_node_s_agents_ask_for_the_token(cluster: Cluster, places: dict[str, list[str]]) -> None:
    asked = []
    for name in CLUSTER:
        for place in places[name]:
            asked += [
                ("POST", place, '/api/job_agent/jobs/ {"entrypoint":"true"}'),
                ("GET", place, "/api/job_agent/jobs/1"),
            ]
            asked += [("POST", place, "/get_or_create_runtime_env {}"), ("GET", place, "/logs")]
    answers = attack(cluster.hosts, "intruder", "pages", asked=asked)
    let_in = [
        (one, answer)
        for one, answer in zip(asked, answers, strict=True)
        if answer[0] not in (0, 400, 401, 403, 404, 405)
    ]
    # Ray's numbers for Prometheus are open to the network; docs/security.md says so. They answer any path alike.
    assert [one for one, answer in let_in if not answer[1].startswith("# HELP ")] == []
    assert [answer[0] for answer in answers].count(401) >= 2 * len(CLUSTER)


def test_without_a_password_mlflow_gives_and_takes_nothing(cluster: Cluster) -> None:
    routes = attack(cluster.hosts, "intruder", "mlflow_routes")
    assert len(routes) > 150
    asked = [(method, MLFLOW, path) for method, path in routes]
    answers = attack(cluster.hosts, "intruder", "pages", asked=asked)
    open_pages = [
        (method, path, status)
        for (method, _, path), (status, _) in zip(asked, answers, strict=True)
        if status not in (401, 404, 405) and not any(public in path for public in PUBLIC)
    ]
    assert open_pages == []
    assert Counter(status for status, _ in answers)[401] > 100


def test_a_wrong_password_does_not_do(cluster: Cluster, given: dict[str, str]) -> None:
    asked = [("GET", MLFLOW, "/api/2.0/mlflow/experiments/search?max_results=5"), ("GET", MLFLOW, "/")]
    for user, password in ((wanted(given)[0], "spiketune"), ("admin", "password1234"), ("admin", "admin"), ("", "")):
        answers = attack(cluster.hosts, "intruder", "pages", asked=asked, user=user, password=password)
        assert [status for status, _ in answers] == [401, 401]


def test_another_host_s_name_does_not_lead_to_mlflow(cluster: Cluster) -> None:
    program = (
        f"import http.client; c = http.client.HTTPConnection('{MLFLOW}'); "
        "c.request('GET', '/health', headers={'Host': 'evil.example'}); print(c.getresponse().status)"
    )
    assert cluster.hosts.python("intruder", program).stdout.strip() == "403"


@pytest.fixture(scope="module")
def run(cluster: Cluster, given: dict[str, str]) -> str:
    """A run of the first user with a file, written with the password."""
    program = (
        "import mlflow\n"
        "with mlflow.start_run() as run:\n"
        "    mlflow.log_metric('map', 0.5)\n"
        "    mlflow.log_text('of this run', 'told.txt')\n"
        "print(run.info.run_id)\n"
    )
    return cluster.hosts.python("client", program, **given).stdout.splitlines()[-1]


def traversals(run: str) -> list[tuple[str, str, str]]:
    paths = [base.format(up + file) for base in ARTIFACTS for up in UP_THE_TREE for file in SECRET_FILES]
    return [("GET", MLFLOW, path.replace("RUN", run)) for path in paths]


def leaks(answers: Sequence[tuple[int, str]], secrets: Sequence[str]) -> list[str]:
    return [body[:200] for _, body in answers if "root:x:0" in body or any(secret in body for secret in secrets)]


@pytest.mark.parametrize("who", ["nobody", "a user"])
def test_no_file_outside_the_artifact_folder_is_fetched(
    cluster: Cluster, given: dict[str, str], run: str, who: str
) -> None:
    user, password = (None, None) if who == "nobody" else wanted(given)
    answers = attack(cluster.hosts, "intruder", "pages", asked=traversals(run), user=user, password=password)
    assert leaks(answers, cluster.secrets()) == []
    assert len(answers) == len(ARTIFACTS) * len(UP_THE_TREE) * len(SECRET_FILES)
    if who == "nobody":
        assert {status for status, _ in answers} <= {400, 401, 404}


def test_with_a_password_a_run_and_its_file_are_read(cluster: Cluster, given: dict[str, str], run: str) -> None:
    user, password = wanted(given)
    asked = [
        ("GET", MLFLOW, f"/api/2.0/mlflow/runs/get?run_id={run}"),
        ("GET", MLFLOW, f"/get-artifact?run_uuid={run}&path=told.txt"),
    ]
    (told, about), (got, text) = attack(cluster.hosts, "client", "pages", asked=asked, user=user, password=password)
    assert (told, got, text) == (200, 200, "of this run")
    assert '"map"' in about


def test_another_user_reads_a_run_but_does_not_write_it(cluster: Cluster, run: str) -> None:
    cluster.on_head("spiketune services add-user ann")
    lines = cluster.on_head("cat ~/spiketune-services/users/ann.env").splitlines()
    user, password = wanted(dict(line.split("=", 1) for line in lines))
    write = f'{{"run_id":"{run}","key":"map","value":1,"timestamp":1,"step":1}}'
    asked = [
        ("GET", MLFLOW, f"/api/2.0/mlflow/runs/get?run_id={run}"),
        ("POST", MLFLOW, f"/api/2.0/mlflow/runs/log-metric {write}"),
        ("POST", MLFLOW, f'/api/2.0/mlflow/runs/delete {{"run_id":"{run}"}}'),
    ]
    answers = attack(cluster.hosts, "intruder", "pages", asked=asked, user=user, password=password)
    assert [status for status, _ in answers] == [200, 403, 403]


def test_no_user_makes_the_server_s_own_files_artifacts(cluster: Cluster, given: dict[str, str]) -> None:
    user, password = wanted(given)
    folder = f"file://{HOME}/spiketune-services"
    make = [("POST", MLFLOW, f'/api/2.0/mlflow/experiments/create {{"name":"bait","artifact_location":"{folder}"}}')]
    ((_, body),) = attack(cluster.hosts, "client", "pages", asked=make, user=user, password=password)
    experiment = json.loads(body).get("experiment_id", "none")
    make = [("POST", MLFLOW, f'/api/2.0/mlflow/runs/create {{"experiment_id":"{experiment}","start_time":1}}')]
    ((_, body),) = attack(cluster.hosts, "client", "pages", asked=make, user=user, password=password)
    made = json.loads(body).get("run", {}).get("info", {}).get("run_id", "none")
    asked = [
        ("GET", MLFLOW, f"/get-artifact?run_uuid={made}&path={path}")
        for path in ("client.env", "secrets/mlflow-admin", "../../client.env")
    ]
    answers = attack(cluster.hosts, "client", "pages", asked=asked, user=user, password=password)
    assert leaks(answers, cluster.secrets()) == []


def test_postgresql_refuses_who_has_no_password(cluster: Cluster, given: dict[str, str]) -> None:
    place = f"{ADDRESS[HEAD]}:5432"
    names = ["postgres", OWNER, "mlflow", "spiketune", "root"]
    urls = [
        f"postgresql://{name}{word}@{place}/{base}"
        for name in names
        for word in ("", ":spiketune")
        for base in ("postgres", "studies")
    ]
    said = attack(cluster.hosts, "intruder", "database", urls=urls)
    assert "open" not in said
    assert all("refused" not in text and "timeout" not in text for text in said)  # it was PostgreSQL that said no


def test_postgresql_lets_in_who_has_the_password(cluster: Cluster, given: dict[str, str]) -> None:
    url = given["SPIKETUNE_STUDY_URL"].replace("+psycopg", "")
    assert attack(cluster.hosts, "intruder", "database", urls=[url]) == ["open"]


def test_ssh_refuses_who_has_no_key(cluster: Cluster) -> None:
    for name in CLUSTER:
        done = cluster.hosts.run("intruder", f"ssh -o BatchMode=yes {OWNER}@{name} true", check=False)
        assert "Permission denied" in done.stderr


def test_no_secret_is_in_a_command_line_or_a_log(cluster: Cluster, run: str) -> None:
    secrets = cluster.secrets()
    assert len(secrets) >= 5
    assert cluster.token in secrets
    lines = cluster.command_lines()
    assert any("mlflow" in line for line in lines)
    assert [line[:80] for line in lines if any(secret in line for secret in secrets)] == []
    for name in CLUSTER:
        logs = cluster.hosts.machines[name].disk
        for file in (*logs.glob("tmp/ray/session_2*/logs/**/*"), *logs.glob("home/spiketune-services/logs/*")):
            if file.is_file():
                text = file.read_text(errors="replace")
                assert not any(secret in text for secret in secrets), file


def test_files_with_secrets_are_their_owner_s_alone(cluster: Cluster) -> None:
    find = "find ~/.ray ~/spiketune-services ~/ray_bootstrap_key.pem -type f -perm /077 -not -name '*.lock'"
    assert cluster.on_head(f"{find} -not -path '*/logs/*'").split() == []
    assert cluster.on_head("stat -c %a ~/spiketune-services").strip() == "700"
    for name in WORKERS:
        assert cluster.hosts.run(name, "stat -c %a ~/.ray/auth_token").stdout.strip() == "600"


def test_the_cluster_is_whole_after_all_that(cluster: Cluster) -> None:
    until(lambda: cluster.nodes() == set(CLUSTER), 60)
