"""The space a search samples: domains of configuration leaves, some of them only under conditions."""

import graphlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from data.errors import ConfigError
from tuner.domains import Choice, Domain, Real, Scalar, Suggest, identity

Leaves = dict[str, Any]  # values by dotted path
Condition = Mapping[str, tuple[Scalar, ...]]  # leaf -> the values of it under which a branch is active


@dataclass(frozen=True)
class Branch:
    """A leaf's domain and when it holds."""

    leaf: str
    domain: Domain
    when: Condition = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The parameter's name in the study; branches of one leaf are different parameters to a sampler."""
        if not self.when:
            return self.leaf
        rules = ",".join(f"{leaf}={'|'.join(map(str, values))}" for leaf, values in self.when.items())
        return f"{self.leaf}[{rules}]"

    def active(self, leaves: Mapping[str, Any]) -> bool:
        """Whether the branch holds for these values; a leaf that is itself inactive fulfils no condition."""
        return all(
            leaf in leaves and identity(leaves[leaf]) in {identity(value) for value in values}
            for leaf, values in self.when.items()
        )


class BranchError(ConfigError):
    """A rule broken by one branch of the space; `branch` tells which."""

    def __init__(self, branch: Branch, rule: str) -> None:
        super().__init__(rule)
        self.branch = branch


class Space:
    """Branches, in an order in which every condition is decided before it is asked.

    Raises:
        BranchError: a condition names a leaf that is not in the space, a value that cannot occur, or itself in a
            circle; a branch can never hold; or two branches of one leaf can hold at once.
    """

    def __init__(self, branches: Sequence[Branch]) -> None:
        for branch in branches:
            _check_condition(branch, branches)
        self.branches = _ordered(branches)
        self._witness = self._find_witnesses()

    @property
    def leaves(self) -> list[str]:
        """The dotted paths that may be sampled."""
        return list(dict.fromkeys(branch.leaf for branch in self.branches))

    def sample(self, trial: Suggest) -> Leaves:
        """A value for every active leaf."""
        leaves: Leaves = {}
        for branch in self.branches:
            if branch.active(leaves):
                leaves[branch.leaf] = branch.domain.suggest(trial, branch.name)
        return leaves

    def leaves_of(self, values: Mapping[str, Any]) -> Leaves:
        """The leaves that values by branch name give."""
        leaves: Leaves = {}
        for branch in self.branches:
            if branch.active(leaves):
                leaves[branch.leaf] = values[branch.name]
        return leaves

    def observed(self, configuration: Mapping[str, Any]) -> list[tuple[Branch, Any]]:
        """The branches that could have given this configuration's own values; the others do not hold there."""
        leaves: Leaves = {}
        found = []
        for branch in self.branches:
            if branch.active(leaves):
                value = leaves[branch.leaf] = configuration[branch.leaf]
                if branch.domain.contains(value):
                    found.append((branch, value))
        return found

    def complete(self, values: Mapping[str, Any]) -> bool:
        """Whether there is a value by name for every branch that holds."""
        leaves: Leaves = {}
        for branch in self.branches:
            if branch.active(leaves):
                if branch.name not in values:
                    return False
                leaves[branch.leaf] = values[branch.name]
        return True

    def holds(self, configuration: Mapping[str, Any]) -> bool:
        """Whether the space could have given this configuration's own values."""
        leaves: Leaves = {}
        for branch in self.branches:
            if branch.active(leaves):
                value = leaves[branch.leaf] = configuration[branch.leaf]
                if not branch.domain.contains(value):
                    return False
        return True

    def witness(self, branch: Branch) -> Leaves:
        """Values of the conditioning leaves under which this branch holds."""
        return self._witness[branch.name]

    def _find_witnesses(self) -> dict[str, Leaves]:
        found: dict[str, Leaves] = {}
        for leaves in self._assignments(0, {}):
            active: dict[str, Branch] = {}
            for branch in self.branches:
                if not branch.active(leaves):
                    continue
                if branch.leaf in active:
                    other = active[branch.leaf].name
                    raise BranchError(branch, f"overlaps with {other}: both hold under {_told(leaves)}")
                active[branch.leaf] = branch
                found.setdefault(branch.name, {leaf: value for leaf, value in leaves.items() if leaf != branch.leaf})
        for branch in self.branches:
            if branch.name not in found:
                raise BranchError(branch, f"can never hold: no sample has {_told(branch.when)}")
        return found

    def _assignments(self, start: int, leaves: Leaves) -> Iterator[Leaves]:
        """Every combination of the conditioning leaves' values that a sample can have."""
        for index in range(start, len(self.branches)):
            branch = self.branches[index]
            values = self._deciding_values(branch)
            if values and branch.active(leaves) and branch.leaf not in leaves:
                for value in values:
                    yield from self._assignments(index + 1, {**leaves, branch.leaf: value})
                return
        yield leaves

    def _deciding_values(self, branch: Branch) -> list[Scalar]:
        """What a conditioning leaf can be, as far as conditions can tell it apart; empty if none asks for it."""
        asked = [value for other in self.branches for value in other.when.get(branch.leaf, ())]
        if not asked:
            return []
        domain = branch.domain
        possible = domain.options if isinstance(domain, Choice) else (*asked, *domain.extremes())
        return list({identity(value): value for value in possible if domain.contains(value)}.values())


def _check_condition(branch: Branch, branches: Sequence[Branch]) -> None:
    for leaf, values in branch.when.items():
        domains = [other.domain for other in branches if other.leaf == leaf]
        if not domains:
            raise BranchError(branch, f"when: '{leaf}' is not in the space; sample it or drop the condition")
        if any(isinstance(domain, Real) for domain in domains):
            raise BranchError(branch, f"when: '{leaf}' is a real number; only a choice or an integer decides")
        for value in values:
            if not any(domain.contains(value) for domain in domains):
                raise BranchError(branch, f"when: {leaf} is never {value!r}; {_possible(domains)}")


def _possible(domains: Sequence[Domain]) -> str:
    told = [str(list(d.options)) if isinstance(d, Choice) else f"{d.low} to {d.high}" for d in domains]
    return f"possible: {' or '.join(told)}"


def _ordered(branches: Sequence[Branch]) -> list[Branch]:
    graph: dict[str, list[str]] = {}
    for branch in branches:
        graph.setdefault(branch.leaf, []).extend(branch.when)
    try:
        order = list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        circle = error.args[1]
        guilty = next(branch for branch in branches if branch.leaf in circle and branch.when)
        raise BranchError(guilty, f"when: conditions run in a circle: {' <- '.join(circle)}") from None
    return sorted(branches, key=lambda branch: order.index(branch.leaf))


def _told(leaves: Mapping[str, Any]) -> str:
    return ", ".join(f"{leaf}={value}" for leaf, value in leaves.items()) or "any values"
