"""The examination: gathers what can be known, and says what it means."""

from collections.abc import Iterator
from dataclasses import dataclass

from tuner.doctor import node_checks, ports, service_checks
from tuner.doctor.child import cluster_facts
from tuner.doctor.facts import ClusterFacts, MlflowFacts, Questions, StudyFacts
from tuner.doctor.service_facts import dashboard_facts, mlflow_facts, port_of, study_facts
from tuner.doctor.verdict import Verdict, gathered


def all_s(node_s: float) -> float:
    """For the answers of all nodes, when one may take this long: Ray's start, and the few that are waited for."""
    return max(120.0, 4 * node_s)


@dataclass(frozen=True)
class Examination:
    """What to look at, and how long to wait."""

    address: str | None = None  # Ray's; None: this machine alone
    shared: str | None = None
    dataset: str | None = None
    node_s: float = 60.0  # for an answer of a node: its first process, beside trials, may take half of it

    def verdicts(self) -> list[Verdict]:
        """What there is to say."""
        questions = Questions(address=self.address, shared=self.shared, dataset=self.dataset, patience_s=self.node_s)
        facts = cluster_facts(questions, all_s(self.node_s))
        mlflow, study = mlflow_facts(), study_facts()
        found = list(self._of_nodes(facts, _watched(facts, mlflow, study)))
        if self.address is not None and not facts.wrong:
            found += service_checks.token(facts.nodes)
            answer = dashboard_facts(facts.dashboard) if facts.dashboard else None
            found += service_checks.dashboard(facts.dashboard, answer)
        found += service_checks.mlflow(mlflow, self.address is not None)
        found += service_checks.study(study, self.address is not None)
        return gathered(found)

    def _of_nodes(self, facts: ClusterFacts, watched: dict[int, str]) -> Iterator[Verdict]:
        if self.address is not None or facts.wrong:
            yield node_checks.connection(facts, self.address)
        if facts.wrong:
            return
        nodes = facts.nodes
        if self.address is not None:
            yield from node_checks.answering(nodes, facts.lost)
        yield from node_checks.versions(nodes)
        yield from node_checks.gpus(nodes)
        yield from node_checks.clocks(nodes)
        yield from node_checks.disks(nodes)
        yield from node_checks.shared(nodes, self.shared)
        yield from node_checks.dataset(nodes, self.dataset)
        yield from node_checks.secrets(nodes)
        yield from ports.ports(nodes, watched, facts.gcs_port)


def _watched(facts: ClusterFacts, mlflow: MlflowFacts | None, study: StudyFacts | None) -> dict[int, str]:
    """Ports that are bound as one chooses, and what listens there."""
    dashboard = port_of(f"//{facts.dashboard}", ports.DASHBOARD) if facts.dashboard else ports.DASHBOARD
    return {
        dashboard: "Ray's dashboard and job server",
        ports.RAY_CLIENT: "Ray's client server",
        port_of(mlflow.uri, ports.MLFLOW) if mlflow else ports.MLFLOW: "MLflow",
        port_of(study.place, ports.POSTGRES) if study else ports.POSTGRES: "PostgreSQL",
    }
