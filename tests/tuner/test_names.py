"""Names that people give to searches, ablations and jobs cannot lead out of the folders that are named after them."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from data.errors import ConfigError, InputError
from tuner.ablation.spec import AblationFile
from tuner.jobs.order import Order, is_job
from tuner.jobs.record import Records
from tuner.spec.search_file import SearchFile
from tuner.spec.search_spec import load_spec

HOSTILE = ["../victim", "..", ".", "", "/etc/passwd", "a/b", "a\\b", "a\nb", "a\0b", "-rf", "~", "$HOME", "name\n"]
TEXT = st.text(max_size=12) | st.lists(st.sampled_from(["..", "/", "a", "-", ".", "\n", "~"]), max_size=6).map("".join)


RULES: dict[type, TypeAdapter[str]] = {
    kind: TypeAdapter(kind.model_fields["name"].rebuild_annotation()) for kind in (SearchFile, AblationFile)
}


def accepted(name: str, kind: type[SearchFile] | type[AblationFile]) -> bool:
    try:
        RULES[kind].validate_python(name)
    except ValidationError:
        return False
    return True


def stays(name: str) -> bool:
    return Path("/runs", f"{name}-20260102").resolve().parent == Path("/runs") and not name.startswith("-")


@pytest.mark.parametrize("kind", [SearchFile, AblationFile])
@settings(deadline=None)
@given(name=TEXT)
def test_a_name_that_is_accepted_stays_in_its_folder(kind: type[SearchFile] | type[AblationFile], name: str) -> None:
    assert not accepted(name, kind) or stays(name)


@pytest.mark.parametrize("kind", [SearchFile, AblationFile])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_leads_away_is_refused(kind: type[SearchFile] | type[AblationFile], name: str) -> None:
    assert not accepted(name, kind)
    assert accepted("night_2-b", kind)


def test_a_spec_with_a_name_that_leads_away_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("name: ../victim\nspace:\n  loss.box: {uniform: [2, 15]}\nbudget: {trials: 2, epochs: 1}\n")
    with pytest.raises(ConfigError, match="name"):
        load_spec(file)


@settings(deadline=None)
@given(name=TEXT)
def test_a_job_s_name_that_is_accepted_stays_in_its_folder(name: str) -> None:
    try:
        Order("search", name, {})
    except InputError:
        return
    assert stays(name)


@settings(deadline=None)
@given(text=TEXT | TEXT.map("{}-0123456789".format))
def test_a_job_s_id_that_is_accepted_stays_in_its_folder(text: str) -> None:
    assert not is_job(text) or Path("/jobs", f"{text}.json").resolve().parent == Path("/jobs")


@pytest.mark.parametrize("job", ["../night-0123456789", "/etc/passwd", "..", "night-0123456789/../x"])
def test_the_record_of_a_job_that_leads_away_is_not_read(tmp_path: Path, job: str) -> None:
    with pytest.raises(InputError, match="is no job's id"):
        Records(tmp_path).read(job)
