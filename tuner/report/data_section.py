"""The data a search ran on: findings first, then what each split holds and what was mended in it."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from tuner.report.section import Column, Section, nothing, paragraph, table_html

_SEVERITIES = ("error", "warning", "note")
_COUNTS = (
    ("recordings", "recordings", ""),
    ("seconds", "length", "s"),
    ("events", "events", ""),
    ("events_dropped", "events dropped", ""),
    ("events_mended", "times mended", ""),
    ("boxes", "boxes", ""),
    ("boxes_cut", "boxes cut to the frame", ""),
    ("boxes_dropped", "boxes outside it", ""),
    ("boxes_left_out", "boxes of other classes", ""),
)


def data_section(audit: Mapping[str, Any]) -> Section:
    """What `tuner.examination.audited.audit_summary` found."""
    html = _findings(audit)
    splits = audit["splits"]
    html += paragraph("What each split holds, and what was dropped or mended when it was ingested:")
    columns = [Column("split"), *(Column(title, unit, ",.0f") for _, title, unit in _COUNTS)]
    html += table_html(columns, [[name, *(told[key] for key, _, _ in _COUNTS)] for name, told in splits.items()])
    html += paragraph("Boxes of each class:")
    classes = list(dict.fromkeys(name for told in splits.values() for name in told["classes"]))
    columns = [Column("class"), *(Column(name, "boxes", ",d") for name in splits)]
    html += table_html(columns, [[name, *(told["classes"][name] for told in splits.values())] for name in classes])
    return Section("data", "The data", html)


def _findings(audit: Mapping[str, Any]) -> Markup:
    left_out = [["warning", text, "mend its source and ingest anew, if it is needed"] for text in audit["left_out"]]
    found = [_finding(finding) for finding in audit["findings"] if finding["code"] != "left-out"]
    rows = sorted([*found, *left_out], key=lambda row: _SEVERITIES.index(row[0]))
    html = Markup("")
    if not audit["audited"]:
        html += paragraph(f"The dataset is large, so only its manifest was read; spiketune audit {audit['location']}")
    if not rows:
        return html + nothing("No finding.")
    html += table_html([Column("severity"), Column("what"), Column("remedy")], rows)
    more = audit["more_findings"]
    return html + (paragraph(f"{more:,} more: spiketune audit {audit['location']}") if more else Markup(""))


def _finding(finding: Mapping[str, Any]) -> list[str]:
    where = f"{finding['recording']}: " if finding["recording"] else ""
    return [finding["severity"], f"{where}{finding['what']}", finding["remedy"]]
