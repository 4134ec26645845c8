"""The page around the sections: one file that asks for nothing, and runs no script but its own."""

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from tuner.report.section import Section


def page_html(title: str, sections: Sequence[Section], at: datetime) -> str:
    """The whole page.

    Args:
        title: of the page.
        sections: in their order.
        at: when what it tells was read.
    """
    plotly, script = get_plotlyjs(), _file("page.js")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_file("page.html.j2")).render(
        title=title,
        written=f"as of {at.astimezone():%Y-%m-%d %H:%M:%S %Z}",
        sections=sections,
        policy=_policy(plotly, script),
        style=Markup(_file("page.css")),  # noqa: S704 - our own files, as is the library
        plotly=Markup(plotly),  # noqa: S704
        script=Markup(script),  # noqa: S704
    )


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy(*scripts: str) -> str:
    """What the browser lets the page do: no address but `data:`, and of scripts these alone."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; media-src data:; "
        "font-src data:; base-uri 'none'; form-action 'none'"
    )
