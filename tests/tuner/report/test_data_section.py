"""Names that come with a dataset stay text in the report."""

from pathlib import Path

from tests.tuner.report.histories import HOSTILE
from tests.tuner.report.test_page import AT, Seen
from tuner.report.data_section import data_section
from tuner.report.page import page_html

COUNTS = (
    "recordings", "seconds", "events", "events_dropped", "events_mended", "boxes", "boxes_cut", "boxes_dropped",
    "boxes_left_out",
)  # fmt: skip


def test_classes_recordings_and_places_with_markup_in_their_names_stay_text(tmp_path: Path) -> None:
    split = dict.fromkeys(COUNTS, 1) | {"classes": {HOSTILE: 3}}
    finding = {"severity": "error", "code": "dark", "recording": HOSTILE, "what": HOSTILE, "remedy": HOSTILE}
    audit = {
        "audited": False, "location": HOSTILE, "splits": {HOSTILE: split}, "left_out": [HOSTILE],
        "findings": [finding], "more_findings": 2,
    }  # fmt: skip
    section = data_section(audit)
    seen = Seen(section.html)
    assert {tag for tag, _ in seen.tags} & {"script", "img", "iframe", "object", "style", "link"} == set()
    assert not any(name.startswith("on") for _, attributes in seen.tags for name in attributes)
    assert section.html.count("&lt;img") >= 6  # it is there to be read
    whole = Seen(page_html("t", [section], AT))
    assert not any(tag == "img" for tag, _ in whole.tags)
