"""Nodes that can be asked, of a Ray cluster or this machine; who does not answer in time is told, not waited for."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from tuner.doctor.facts import Questions
from tuner.doctor.node import Examiner

_UNEXPECTED = 2  # UNEXPECTED_TERMINATION of Ray's NodeDeathInfo


@dataclass(frozen=True)
class NodeName:
    """A node as Ray knows it."""

    told: str  # to people
    gpus: float = 0.0
    ports: tuple[int, ...] = ()  # that Ray's own processes listen at


class Nodes(Protocol):
    """Some nodes. One that was silent once is not asked again."""

    names: Mapping[str, NodeName]  # by id
    silent: dict[str, str]  # id -> why
    lost: tuple[str, ...]  # that are there no more, and nobody meant them to go

    def ask(self, method: str, arguments: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
        """The answers of those among `arguments` that answer."""

    def clock(self, node: str) -> tuple[float, float] | None:
        """By how much the node's clock is ahead of ours, and how unsure that is; both in s."""


class ThisMachine:
    """Without a cluster."""

    def __init__(self) -> None:
        self.names: Mapping[str, NodeName] = {"here": NodeName("this machine")}
        self.silent: dict[str, str] = {}
        self.lost: tuple[str, ...] = ()

    def ask(self, method: str, arguments: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
        return {node: getattr(Examiner(), method)(*each) for node, each in arguments.items()}

    def clock(self, node: str) -> tuple[float, float] | None:  # noqa: ARG002 - it is ours
        return None


class RayNodes:
    """An actor on each living node of the cluster that this process is connected to."""

    def __init__(self, patience_s: float) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        known = ray.nodes()
        living = [node for node in known if node["Alive"]]
        self.lost = _lost(known, {node["NodeManagerAddress"] for node in living})
        self.patience_s = patience_s
        self.names: Mapping[str, NodeName] = {node["NodeID"]: _named(node) for node in living}
        self.silent: dict[str, str] = {}
        actor = ray.remote(num_cpus=0, max_restarts=0)(Examiner)
        self._actors = {
            node: actor.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
            for node in self.names
        }

    def ask(self, method: str, arguments: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
        import ray

        asked = {
            getattr(self._actors[node], method).remote(*each): node
            for node, each in arguments.items()
            if node not in self.silent
        }
        ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=self.patience_s) if asked else ([], [])
        for reference in late:
            self.silent[asked[reference]] = f"no answer in {self.patience_s:.0f} s"
        answers: dict[str, Any] = {}
        for reference in ready:
            try:
                answers[asked[reference]] = ray.get(reference)
            except ray.exceptions.RayError as error:
                self.silent[asked[reference]] = _reason(error)
        return answers

    def clock(self, node: str) -> tuple[float, float] | None:
        """The best of a few: the half of the way there and back is what one cannot know."""
        best: tuple[float, float] | None = None
        for _ in range(3):
            before = time.time()
            there = self.ask("now", {node: ()}).get(node)
            after = time.time()
            if there is None:
                return None
            unsure = (after - before) / 2
            if best is None or unsure < best[1]:
                best = (there - (before + after) / 2, unsure)
        return best


def _named(node: Mapping[str, Any]) -> NodeName:
    address = node["NodeManagerAddress"]
    given = node.get("NodeName") or address  # with `ray start --node-name`; the address if not given
    name = node["NodeManagerHostname"] if given == address else given
    return NodeName(
        told=f"{address} ({name})" if name and name != address else address,
        gpus=float(node["Resources"].get("GPU", 0)),
        ports=(node["NodeManagerPort"], node["ObjectManagerPort"]),
    )


def _lost(known: Iterable[Mapping[str, Any]], back: set[str]) -> tuple[str, ...]:
    """Addresses of nodes that died unexpectedly, but for those that are back."""
    dead = (node for node in known if not node["Alive"] and node.get("DeathReason") == _UNEXPECTED)
    return tuple(sorted({node["NodeManagerAddress"] for node in dead} - back))


def _reason(error: Exception) -> str:
    """The last line of an error that Ray tells with all its circumstances."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "Error" in line] or lines or [type(error).__name__]
    return told[-1][:300]


@contextmanager
def nodes_of(questions: Questions) -> Iterator[Nodes]:
    """The nodes to ask.

    Raises:
        ConnectionError, RuntimeError: Ray does not answer, or not to us.
    """
    if questions.address is None:
        yield ThisMachine()
        return
    import ray

    # No runtime environment: each node must import its own installation.
    ray.init(questions.address, log_to_driver=False, logging_level="ERROR", namespace="spiketune-doctor")
    try:
        yield RayNodes(questions.patience_s)
    finally:
        ray.shutdown()
