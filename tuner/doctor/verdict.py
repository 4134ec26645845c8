"""What the doctor says: a level, what was found, and the remedy."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How it is."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Verdict:
    """One line."""

    check: str
    level: Level
    found: str
    remedy: str = ""
    nodes: tuple[str, ...] = ()  # that it is about, where it is not about all

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "check": self.check,
            "level": str(self.level),
            "nodes": list(self.nodes),
            "found": self.found,
            "remedy": self.remedy,
        }

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> "Verdict":
        """Of `as_dict`."""
        return cls(told["check"], Level(told["level"]), told["found"], told["remedy"], tuple(told["nodes"]))


def healthy(verdicts: Iterable[Verdict]) -> bool:
    """Whether nothing failed."""
    return all(verdict.level is not Level.FAIL for verdict in verdicts)


def gathered(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The same, but one line where several nodes have the same to say."""
    nodes: dict[Verdict, list[str]] = {}
    for verdict in verdicts:
        same = Verdict(verdict.check, verdict.level, verdict.found, verdict.remedy)
        nodes.setdefault(same, []).extend(verdict.nodes)
    return [Verdict(v.check, v.level, v.found, v.remedy, tuple(dict.fromkeys(of))) for v, of in nodes.items()]
