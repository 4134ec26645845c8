"""docs/security.md names the test that holds each claim; such a test there is."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text()
ATTACK = "tests/system/test_attack.py"


def functions(file: str) -> set[str]:
    return set(re.findall(r"^def (test_\w+)", (ROOT / file).read_text(), re.MULTILINE))


def test_every_file_of_tests_that_is_named_is_there() -> None:
    named = set(re.findall(r"`(tests/[\w/.]+)", PAGE))
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_every_test_that_is_named_is_there() -> None:
    alone = set(re.findall(r"`(test_\w+)`", PAGE))
    with_file = re.findall(r"`(tests/[\w/.]+)::(test_\w+)`", PAGE)
    assert len(alone) > 5
    assert alone - functions(ATTACK) == set()
    assert [(file, name) for file, name in with_file if name not in functions(file)] == []
