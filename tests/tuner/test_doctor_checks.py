"""What the doctor says of facts: each fault is planted among sound ones, and found, with its node and a remedy."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.doctor import node_checks, service_checks
from tuner.doctor.asked import _lost
from tuner.doctor.facts import (
    Answer,
    ClusterFacts,
    DatasetFacts,
    Disk,
    Listener,
    MlflowFacts,
    NodeFacts,
    SecretFile,
    SharedFacts,
    StudyFacts,
)
from tuner.doctor.ports import Scope, ports, scope_of
from tuner.doctor.verdict import Level, Verdict, gathered, healthy

VERSIONS = {"python": "3.11.7", "ray": "2.60.0", "torch": "2.13.0", "spiketune": "0.1.0", "code": "0123456789"}
WATCHED = {8265: "Ray's dashboard and job server", 5000: "MLflow", 5432: "PostgreSQL"}


def node(name: str = "10.0.0.5", **other: Any) -> NodeFacts:
    """A sound one."""
    sound: dict[str, Any] = {
        "versions": VERSIONS,
        "ray_gpus": 2.0,
        "torch_gpus": 2,
        "auth_mode": "token",
        "ahead_s": 0.003,
        "unsure_s": 0.002,
        "disks": (Disk(place="temporary files", path="/tmp", free_gb=80.0, total_gb=150.0),),
        "listeners": (Listener(address="127.0.0.1", port=8265), Listener(address="10.0.0.5", port=5000)),
        "own_ports": (8076,),
        "secrets": (SecretFile(path="~/.ray/auth_token", mode=0o600),),
        "shared": SharedFacts(),
        "dataset": DatasetFacts(digest="ab" * 32),
    }
    return NodeFacts(node=name, **(sound | other))


SOUND = [node(), node("10.0.0.6"), node("10.0.0.7")]


def one(verdicts: Iterable[Verdict]) -> Verdict:
    (verdict,) = verdicts
    return verdict


def test_nothing_is_wrong_with_sound_nodes() -> None:
    verdicts = [
        node_checks.connection(ClusterFacts(nodes=tuple(SOUND)), "auto"),
        *node_checks.answering(SOUND),
        *node_checks.versions(SOUND),
        *node_checks.gpus(SOUND),
        *node_checks.shared(SOUND, "/shared"),
        *node_checks.clocks(SOUND),
        *node_checks.disks(SOUND),
        *node_checks.dataset(SOUND, "/shared/data"),
        *node_checks.secrets(SOUND),
        *ports(SOUND, WATCHED, 6379),
        *service_checks.token(SOUND),
    ]
    assert [verdict.level for verdict in verdicts] == [Level.PASS] * 11
    assert [verdict.remedy for verdict in verdicts] == [""] * 11


def test_a_cluster_that_does_not_answer_is_a_failure_with_its_reason() -> None:
    verdict = node_checks.connection(ClusterFacts(wrong="no answer in 60 s"), "10.0.0.5:6379")
    assert (verdict.level, verdict.found) == (Level.FAIL, "Ray at 10.0.0.5:6379: no answer in 60 s")


def test_a_wrong_token_is_told_as_such() -> None:
    verdict = node_checks.connection(ClusterFacts(wrong="it asks for a token, and ours is another one"), "auto")
    assert verdict.level is Level.FAIL
    assert "auth_token" in verdict.remedy


def test_a_silent_node_is_a_failure_that_names_it() -> None:
    verdict = one(node_checks.answering([*SOUND, NodeFacts(node="10.0.0.8", silent="no answer in 60 s")]))
    assert (verdict.level, verdict.nodes, verdict.found) == (Level.FAIL, ("10.0.0.8",), "no answer in 60 s")


def test_a_node_that_was_lost_is_a_warning() -> None:
    lost, rest = node_checks.answering(SOUND, ["10.0.0.8"])
    assert (lost.level, lost.nodes, rest.level) == (Level.WARN, ("10.0.0.8",), Level.PASS)


def test_nodes_that_are_back_or_were_meant_to_go_are_not_lost() -> None:
    def ended(address: str, reason: int, alive: bool = False) -> dict[str, Any]:
        return {"NodeManagerAddress": address, "Alive": alive, "DeathReason": reason}

    known = [ended("10.0.0.5", 2), ended("10.0.0.5", 0, alive=True), ended("10.0.0.6", 1), ended("10.0.0.7", 2)]
    assert _lost(known, back={"10.0.0.5"}) == ("10.0.0.7",)


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("python", "3.12.1", "Python is 3.12.1, while most have 3.11.7"),
        ("ray", "2.59.0", "Ray is 2.59.0, while most have 2.60.0"),
        ("torch", "2.12.0", "PyTorch is 2.12.0, while most have 2.13.0"),
        ("code", "ffffffffff", "code is ffffffffff, while most have 0123456789"),
        ("spiketune", "missing", "Spiketune is missing, while most have 0.1.0"),
    ],
)
def test_a_node_with_another_version_is_found(name: str, value: str, found: str) -> None:
    verdict = one(node_checks.versions([*SOUND, node("10.0.0.8", versions=VERSIONS | {name: value})]))
    assert (verdict.level, verdict.nodes, verdict.found) == (Level.FAIL, ("10.0.0.8",), found)
    assert verdict.remedy


def test_gpus_that_pytorch_does_not_see_are_found() -> None:
    verdict = one(node_checks.gpus([*SOUND, node("10.0.0.8", ray_gpus=4.0, torch_gpus=3)]))
    assert (verdict.level, verdict.found) == (Level.FAIL, "Ray counts 4, PyTorch sees 3")


def test_gpus_that_pytorch_cannot_count_are_a_failure() -> None:
    broken = node("10.0.0.8", torch_gpus=None, torch_wrong="ImportError: libcudart.so.13")
    verdict = one(node_checks.gpus([*SOUND, broken]))
    assert (verdict.level, verdict.found) == (Level.FAIL, "ImportError: libcudart.so.13")


def test_gpus_that_ray_does_not_use_are_a_warning() -> None:
    verdict = one(node_checks.gpus([*SOUND, node("10.0.0.8", ray_gpus=0.0, torch_gpus=1)]))
    assert (verdict.level, verdict.found) == (Level.WARN, "PyTorch sees 1, Ray counts 0")
    assert "--num-gpus=1" in verdict.remedy


def test_nodes_without_gpus_are_sound() -> None:
    verdict = one(node_checks.gpus([node(ray_gpus=0.0, torch_gpus=None)]))
    assert (verdict.level, verdict.found) == (Level.PASS, "none anywhere")


def test_a_node_that_cannot_write_in_the_shared_place_is_found() -> None:
    odd = node("10.0.0.8", shared=SharedFacts(wrong_writing="/shared/x: cannot be written (Read-only file system)"))
    verdict = one(node_checks.shared([*SOUND, odd], "/shared"))
    assert (verdict.level, verdict.nodes) == (Level.FAIL, ("10.0.0.8",))
    assert "Read-only file system" in verdict.found


def test_a_node_that_sees_another_folder_is_found() -> None:
    odd = node("10.0.0.8", shared=SharedFacts(wrong_reading="what 10.0.0.5 wrote in /shared is not there"))
    verdict = one(node_checks.shared([*SOUND, odd], "/shared"))
    assert (verdict.level, verdict.nodes) == (Level.FAIL, ("10.0.0.8",))
    assert "same file system" in verdict.remedy


def test_a_cluster_without_a_shared_place_is_warned_of() -> None:
    assert one(node_checks.shared(SOUND, None)).level is Level.WARN
    assert list(node_checks.shared(SOUND[:1], None)) == []


@pytest.mark.parametrize(
    ("ahead", "unsure", "level"),
    [
        (0.9, 0.0, Level.PASS),
        (1.1, 0.0, Level.WARN),
        (-1.1, 0.0, Level.WARN),
        (-31.0, 0.0, Level.FAIL),
        (1.1, 0.2, Level.PASS),  # it may be 0.9 s
        (40.0, 11.0, Level.WARN),
    ],
)
def test_clocks_are_judged_by_what_is_sure(ahead: float, unsure: float, level: Level) -> None:
    verdicts = list(node_checks.clocks([*SOUND, node("10.0.0.8", ahead_s=ahead, unsure_s=unsure)]))
    assert one(verdicts).level is level
    if level is not Level.PASS:
        assert one(verdicts).nodes == ("10.0.0.8",)
        assert one(verdicts).found.split(" s ")[1].startswith("ahead" if ahead > 0 else "behind")


@pytest.mark.parametrize(("free_gb", "level"), [(10.0, Level.PASS), (9.9, Level.WARN), (0.9, Level.FAIL)])
def test_a_full_disk_is_found(free_gb: float, level: Level) -> None:
    disk = Disk(place="the node cache", path="/cache", free_gb=free_gb, total_gb=100.0)
    verdict = one(node_checks.disks([*SOUND, node("10.0.0.8", disks=(disk,))]))
    assert verdict.level is level
    assert ("/cache" in verdict.found) == (level is not Level.PASS)


def test_a_dataset_that_differs_on_a_node_is_found() -> None:
    odd = node("10.0.0.8", dataset=DatasetFacts(digest="cd" * 32))
    verdict = one(node_checks.dataset([*SOUND, odd], "/data"))
    assert (verdict.level, verdict.nodes) == (Level.FAIL, ("10.0.0.8",))
    assert verdict.found == "/data has digest cdcdcdcdcdcd, elsewhere abababababab"


def test_a_dataset_that_is_not_there_is_found() -> None:
    odd = node("10.0.0.8", dataset=DatasetFacts(wrong="/data: is no folder"))
    verdict = one(node_checks.dataset([*SOUND, odd], "/data"))
    assert (verdict.level, verdict.found) == (Level.FAIL, "/data: is no folder")


@pytest.mark.parametrize(
    ("mode", "level"), [(0o600, Level.PASS), (0o400, Level.PASS), (0o644, Level.FAIL), (0o620, Level.FAIL)]
)
def test_a_secret_that_others_may_read_or_write_is_found(mode: int, level: Level) -> None:
    verdict = one(node_checks.secrets([*SOUND, node("10.0.0.8", secrets=(SecretFile(path="/token", mode=mode),))]))
    assert verdict.level is level
    assert verdict.remedy == ("chmod 600 /token" if level is Level.FAIL else "")


@pytest.mark.parametrize(
    ("address", "scope"),
    [
        ("127.0.0.1", Scope.LOOPBACK),
        ("127.8.8.8", Scope.LOOPBACK),
        ("::1", Scope.LOOPBACK),
        ("::ffff:127.0.0.1", Scope.LOOPBACK),
        ("10.1.2.3", Scope.PRIVATE),
        ("172.31.0.1", Scope.PRIVATE),
        ("192.168.1.10", Scope.PRIVATE),
        ("100.64.0.1", Scope.PRIVATE),
        ("169.254.1.1", Scope.PRIVATE),
        ("fd12::1", Scope.PRIVATE),
        ("fe80::1%eth0", Scope.PRIVATE),
        ("::ffff:10.9.9.9", Scope.PRIVATE),
        ("172.32.0.1", Scope.PUBLIC),
        ("8.8.8.8", Scope.PUBLIC),
        ("2a00:1450:4001::1", Scope.PUBLIC),
        ("0.0.0.0", Scope.WILDCARD),
        ("::", Scope.WILDCARD),
        ("::ffff:0.0.0.0", Scope.WILDCARD),
    ],
)
def test_addresses_are_told_by_who_can_reach_them(address: str, scope: Scope) -> None:
    assert scope_of(address) is scope


@given(st.ip_addresses())
def test_every_address_has_a_scope_however_it_is_written(address: Any) -> None:
    mapped = f"::ffff:{address}" if address.version == 4 else address.exploded
    assert scope_of(str(address)) is scope_of(mapped)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "8.8.8.8"])
@pytest.mark.parametrize("port", sorted(WATCHED))
def test_a_service_that_strangers_can_reach_is_a_failure(address: str, port: int) -> None:
    verdict = one(ports([*SOUND, node("10.0.0.8", listeners=(Listener(address=address, port=port),))], WATCHED, 6379))
    assert (verdict.level, verdict.nodes) == (Level.FAIL, ("10.0.0.8",))
    assert f"port {port}" in verdict.found
    assert WATCHED[port] in verdict.found


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.5"])
@pytest.mark.parametrize("port", [*sorted(WATCHED), 6379])
def test_a_service_on_loopback_or_in_the_private_network_is_sound(address: str, port: int) -> None:
    verdict = one(ports([node(listeners=(Listener(address=address, port=port),))], WATCHED, 6379))
    assert verdict.level is Level.PASS


def test_what_else_a_machine_serves_is_not_ours_to_judge() -> None:
    assert one(ports([node(listeners=(Listener(address="0.0.0.0", port=22),))], WATCHED, 6379)).level is Level.PASS


@pytest.mark.parametrize(("mode", "level"), [("token", Level.WARN), ("disabled", Level.FAIL), ("", Level.FAIL)])
@pytest.mark.parametrize("port", [6379, 8076])
def test_rays_own_ports_are_a_failure_only_where_no_token_guards_them(mode: str, level: Level, port: int) -> None:
    sound, verdict = ports([node(listeners=(Listener(address="::", port=port),), auth_mode=mode)], WATCHED, 6379)
    assert (sound.level, verdict.level) == (Level.PASS, level)
    assert "firewall" in verdict.remedy


def test_a_node_whose_ray_asks_for_no_token_is_found() -> None:
    verdict = one(service_checks.token([*SOUND, node("10.0.0.8", auth_mode="")]))
    assert (verdict.level, verdict.nodes) == (Level.FAIL, ("10.0.0.8",))


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        (Answer(status=401), Level.PASS),
        (Answer(status=200), Level.FAIL),
        (Answer(wrong="Connection refused"), Level.WARN),
        (None, Level.WARN),
    ],
)
def test_a_job_server_is_judged_by_what_it_says_to_a_stranger(answer: Answer | None, level: Level) -> None:
    assert one(service_checks.dashboard("127.0.0.1:8265" if answer else None, answer)).level is level


@pytest.mark.parametrize(
    ("known", "stranger", "levels"),
    [
        (Answer(status=200), Answer(status=401), [Level.PASS, Level.PASS]),
        (Answer(status=401), Answer(status=401), [Level.FAIL, Level.PASS]),
        (Answer(status=200), Answer(status=200), [Level.PASS, Level.FAIL]),
        (Answer(status=403, says="Invalid Host header"), Answer(status=403), [Level.FAIL, Level.WARN]),
        (Answer(status=500, says="no room"), Answer(status=401), [Level.FAIL, Level.PASS]),
        (Answer(wrong="Connection refused"), Answer(wrong="Connection refused"), [Level.FAIL]),
    ],
)
def test_mlflow_is_judged_by_what_it_says_to_us_and_to_a_stranger(
    known: Answer, stranger: Answer, levels: list[Level]
) -> None:
    facts = MlflowFacts(uri="http://10.0.0.5:5000", known=known, stranger=stranger)
    verdicts = list(service_checks.mlflow(facts, on_cluster=True))
    assert [verdict.level for verdict in verdicts] == levels
    assert all(bool(verdict.remedy) == (verdict.level is not Level.PASS) for verdict in verdicts)


def test_mlflow_without_a_password_on_loopback_is_a_warning() -> None:
    answer = Answer(status=200)
    facts = MlflowFacts(uri="http://127.0.0.1:5000", known=answer, stranger=answer)
    assert [verdict.level for verdict in service_checks.mlflow(facts, on_cluster=False)] == [Level.PASS, Level.WARN]


@pytest.mark.parametrize(("on_cluster", "level"), [(True, Level.WARN), (False, Level.PASS)])
def test_a_cluster_is_warned_of_records_without_a_server(on_cluster: bool, level: Level) -> None:
    assert one(service_checks.mlflow(None, on_cluster)).level is level
    assert one(service_checks.mlflow(MlflowFacts(uri="sqlite:////x.db"), on_cluster)).level is level
    assert one(service_checks.study(None, on_cluster)).level is level


@pytest.mark.parametrize(
    ("wrong", "levels"),
    [
        ({}, [Level.PASS]),
        ({"wrong_connecting": "password authentication failed"}, [Level.FAIL]),
        ({"wrong_writing": "cannot execute CREATE TABLE in a read-only transaction"}, [Level.FAIL]),
        ({"lets_strangers_in": True}, [Level.PASS, Level.FAIL]),
    ],
)
def test_the_database_is_judged_by_what_it_lets_us_do(wrong: dict[str, Any], levels: list[Level]) -> None:
    facts = StudyFacts(place="postgresql+psycopg://10.0.0.5/studies", **wrong)
    verdicts = list(service_checks.study(facts, on_cluster=True))
    assert [verdict.level for verdict in verdicts] == levels
    assert all(text in verdicts[0].found for text in wrong.values() if isinstance(text, str))


def test_nodes_with_the_same_fault_share_a_line() -> None:
    verdicts = [Verdict("token", Level.FAIL, "none", "mend it", (name,)) for name in ("a", "b", "b")]
    assert gathered([*verdicts, Verdict("disk", Level.PASS, "80 GB")]) == [
        Verdict("token", Level.FAIL, "none", "mend it", ("a", "b")),
        Verdict("disk", Level.PASS, "80 GB"),
    ]


def test_a_warning_leaves_a_cluster_healthy_and_a_failure_does_not() -> None:
    assert healthy([Verdict("a", Level.PASS, ""), Verdict("b", Level.WARN, "")])
    assert not healthy([Verdict("a", Level.PASS, ""), Verdict("b", Level.FAIL, "")])


def test_a_verdict_survives_its_way_as_json() -> None:
    verdict = Verdict("token", Level.FAIL, "none", "mend it", ("a", "b"))
    assert Verdict.from_dict(json.loads(json.dumps(verdict.as_dict()))) == verdict


def test_facts_survive_their_way_as_json() -> None:
    facts = ClusterFacts(nodes=tuple(SOUND), gcs_port=6379, dashboard="127.0.0.1:8265")
    assert ClusterFacts.model_validate_json(facts.model_dump_json()) == facts
