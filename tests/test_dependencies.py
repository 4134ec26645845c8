"""Nothing that Spiketune is installed with has a vulnerability that is known to be mended in a later version."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@dataclass(frozen=True)
class Vulnerability:
    package: str
    fixed_in: Version
    cve: str
    what: str

    def concerns(self, version: Version) -> bool:
        return version < self.fixed_in


def known() -> list[Vulnerability]:
    rows: list[dict[str, Any]] = yaml.safe_load((ROOT / "tests" / "known_vulnerabilities.yaml").read_text())
    return [Vulnerability(**(row | {"fixed_in": Version(str(row["fixed_in"]))})) for row in rows]


def pinned() -> dict[str, Version]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    return {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in lines)}


def least(requirements: list[str]) -> dict[str, Version]:
    """The lowest version that each requirement lets in; of none that names no lowest."""
    found: dict[str, Version] = {}
    for requirement in map(Requirement, requirements):
        lowest = [Version(part.version) for part in requirement.specifier if part.operator in (">=", "==", "~=")]
        found |= {canonicalize_name(requirement.name): max(lowest)} if lowest else {}
    return found


def concerned(versions: dict[str, Version], among: list[Vulnerability]) -> list[str]:
    return [
        f"{one.package} {versions[one.package]} has {one.cve} ({one.what}), mended in {one.fixed_in}"
        for one in among
        if one.package in versions and one.concerns(versions[one.package])
    ]


def test_no_pinned_version_has_a_known_vulnerability() -> None:
    assert concerned(pinned(), known()) == []


def test_no_version_that_the_project_lets_in_has_a_known_vulnerability() -> None:
    requirements = PROJECT["dependencies"] + [
        line for extra in PROJECT["optional-dependencies"].values() for line in extra
    ]
    assert concerned(least(requirements), known()) == []


def test_every_known_vulnerability_is_of_a_package_that_is_installed() -> None:
    assert {one.package for one in known()} - set(pinned()) == set()


@pytest.mark.parametrize("one", known(), ids=lambda one: one.cve)
def test_every_known_vulnerability_has_a_number_and_says_what_it_is(one: Vulnerability) -> None:
    assert re.fullmatch(r"CVE-\d{4}-\d{4,}", one.cve)
    assert one.package == canonicalize_name(one.package)
    assert len(one.what) > 10


def test_every_number_stands_once() -> None:
    numbers = [one.cve for one in known()]
    assert sorted(set(numbers)) == sorted(numbers)


@pytest.mark.parametrize(
    ("version", "found"), [("2.51.2", True), ("2.53.0", True), ("2.54.0", False), ("2.60.0", False)]
)
def test_a_version_is_compared_as_a_version(version: str, found: bool) -> None:
    mended = Vulnerability("ray", Version("2.54.0"), "CVE-2026-27482", "a web page deletes jobs")
    assert (concerned({"ray": Version(version)}, [mended]) != []) == found


def test_the_lowest_version_of_a_requirement_is_read() -> None:
    given = ["ray[tune]>=2.54,<3", "boto3", "Pillow ~= 12.2", "x==1.0"]
    assert least(given) == {"ray": Version("2.54"), "pillow": Version("12.2"), "x": Version("1.0")}
