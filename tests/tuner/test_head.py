"""The head of a cluster file: where it is, who may enter, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.errors import ConfigError
from tuner.head import Head, read_head

ROOT = Path(__file__).parent.parent.parent


def write(folder: Path, **changed: Any) -> Path:
    """A cluster file of machines one has."""
    (folder / "key").touch()
    config: dict[str, Any] = {
        "cluster_name": "lab",
        "provider": {"type": "local", "head_ip": "10.0.0.5", "worker_ips": ["10.0.0.6"]},
        "auth": {"ssh_user": "ann", "ssh_private_key": str(folder / "key")},
    }
    file = folder / "cluster.yaml"
    file.write_text(yaml.safe_dump(config | changed), encoding="utf-8")
    return file


def test_a_head_of_ones_own_is_what_the_file_says(tmp_path: Path) -> None:
    assert read_head(write(tmp_path)) == Head("lab", "10.0.0.5", "ann", tmp_path / "key", None)


def test_a_head_may_be_reached_by_a_proxy_and_without_a_key(tmp_path: Path) -> None:
    file = write(tmp_path, auth={"ssh_user": "ann", "ssh_proxy_command": "nc -x proxy %h %p"})
    assert read_head(file) == Head("lab", "10.0.0.5", "ann", None, "nc -x proxy %h %p")


def test_the_cluster_file_of_machines_one_has_names_its_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    head = read_head(ROOT / "cluster" / "onprem.yaml")
    assert (head.host, head.user, head.key) == ("192.168.1.10", "ubuntu", tmp_path / ".ssh" / "id_ed25519")


def test_ssh_never_asks_and_believes_a_host_once(tmp_path: Path) -> None:
    command = Head("lab", "10.0.0.5", "ann", tmp_path / "key", "nc %h %p").ssh("-N")
    assert command[:3] == ["ssh", "-i", str(tmp_path / "key")]
    assert command[-2:] == ["-N", "ann@10.0.0.5"]
    options = dict(command[at + 1].split("=", 1) for at, word in enumerate(command) if word == "-o")
    assert options["BatchMode"] == "yes"
    assert options["StrictHostKeyChecking"] == "accept-new"
    assert options["IdentitiesOnly"] == "yes"
    assert options["ProxyCommand"] == "nc %h %p"


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"provider": {"type": "local"}}, "head is ''"),
        ({"provider": {"type": "local", "head_ip": "-oProxyCommand=touch x"}}, "head is '-oProxyCommand=touch x'"),
        ({"auth": {"ssh_user": "-l"}}, "auth.ssh_user is '-l'"),
        ({"auth": {}}, "auth.ssh_user is ''"),
        ({"auth": {"ssh_user": "ann", "ssh_private_key": "/nowhere/key"}}, "there is no /nowhere/key"),
        ({"auth": None}, "has not cluster_name, provider and auth"),
        ({"provider": "local"}, "has not cluster_name, provider and auth"),
    ],
)
def test_what_names_no_head_is_refused(tmp_path: Path, changed: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        read_head(write(tmp_path, **changed))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_head(tmp_path / "cluster.yaml")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["cluster_name", "provider", "auth", "x"]), inner, max_size=4)
            ),
            max_leaves=8,
        ).map(lambda value: yaml.safe_dump(value).encode()),
    )
)
def test_nothing_else_than_a_sentence_comes_of_a_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError):
        read_head(file)
