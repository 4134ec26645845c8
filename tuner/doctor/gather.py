"""Gathers a cluster's facts, in a process of its own, for Ray may hang: `python -m ... QUESTIONS FACTS`.

QUESTIONS is a file with Questions as JSON, FACTS the file to write ClusterFacts to.
"""

import secrets
import sys
from pathlib import Path
from typing import Any

from data.storage import whole_text
from tuner.doctor.asked import Nodes, nodes_of
from tuner.doctor.facts import ClusterFacts, DatasetFacts, NodeFacts, Questions, SharedFacts


def gather(nodes: Nodes, questions: Questions) -> tuple[NodeFacts, ...]:
    """What each node says of itself, and sees of the others."""
    about = nodes.ask("about", {node: (questions.shared, name.gpus) for node, name in nodes.names.items()})
    clocks = {node: nodes.clock(node) for node in about}
    shared = _shared(nodes, questions.shared) if questions.shared else {}
    data = nodes.ask("dataset", dict.fromkeys(about, (questions.dataset,))) if questions.dataset else {}
    found = []
    for node, name in nodes.names.items():
        told: dict[str, Any] = dict(about.get(node, {}))
        clock = clocks.get(node)
        if clock is not None:
            told |= {"ahead_s": clock[0], "unsure_s": clock[1]}
        if node in data:
            told["dataset"] = DatasetFacts.model_validate(data[node])
        told |= {"node": name.told, "silent": nodes.silent.get(node, ""), "ray_gpus": name.gpus}
        found.append(NodeFacts(**told, own_ports=name.ports, shared=shared.get(node)))
    return tuple(found)


def _shared(nodes: Nodes, place: str) -> dict[str, SharedFacts]:
    """Each node writes a file, and looks for the one that the first of them wrote."""
    mark = secrets.token_hex(8)
    names = {node: f".spiketune-doctor-{mark}-{number}" for number, node in enumerate(nodes.names)}
    writing = nodes.ask("write", {node: (place, name, mark) for node, name in names.items()})
    first = next((node for node, wrong in writing.items() if not wrong), None)
    reading: dict[str, str] = {}
    if first is not None:
        seen = (place, names[first], mark, nodes.names[first].told)
        reading = nodes.ask("read", {node: seen for node in writing if node != first})
        nodes.ask("remove", {node: (place, names[node]) for node, wrong in writing.items() if not wrong})
    return {
        node: SharedFacts(wrong_writing=wrong, wrong_reading=reading.get(node, "")) for node, wrong in writing.items()
    }


def _cluster(questions: Questions) -> ClusterFacts:
    try:
        with nodes_of(questions) as nodes:
            found, lost = gather(nodes, questions), nodes.lost
            gcs, dashboard = (None, None) if questions.address is None else _places()
    except (ConnectionError, RuntimeError, ValueError) as error:  # how Ray says that there is no cluster
        return ClusterFacts(wrong=(str(error).strip().splitlines() or [type(error).__name__])[0])
    return ClusterFacts(nodes=found, lost=lost, gcs_port=gcs, dashboard=dashboard)


def _places() -> tuple[int, str | None]:
    """Asked after the nodes, while Ray is still there."""
    import ray

    told = ray.get_runtime_context().gcs_address
    return int(told.rpartition(":")[2]), _dashboard()


def _dashboard() -> str | None:
    from ray._private.worker import global_worker

    return (global_worker.node.address_info or {}).get("webui_url") or None


def main(questions: Path, facts: Path) -> None:
    """Gather, and write what was found."""
    whole_text(facts, _cluster(Questions.model_validate_json(questions.read_text())).model_dump_json())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
