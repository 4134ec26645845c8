"""The section that shows who was busy with what."""

import plotly.graph_objects as go

from tuner.history import SearchHistory
from tuner.report.occupancy import BETWEEN_SESSIONS_S, Bar, Occupancy, occupancy
from tuner.report.section import Section, figure_html, nothing, paragraph
from tuner.report.view import STATE_COLOURS, hover, plain
from tuner.study.record import LOST, TrialState

ANCHOR, TITLE = "workers", "Workers"


def workers_section(history: SearchHistory) -> Section:
    """Lanes by node, bars by trial, faults marked, and the idle share."""
    found = occupancy(history)
    if found is None:
        return Section(
            ANCHOR,
            TITLE,
            nothing("The study holds no times: no worker has begun, or it was made before they were kept."),
        )
    says = (
        "Each lane is a place on a node where one trial at a time was trained, each bar a worker's time with a trial, "
        "in the colour of what became of it; a cross marks a worker lost or interrupted, or a trial that failed."
    )
    return Section(ANCHOR, TITLE, paragraph(_told(found)) + figure_html(_figure(history, found), says))


def _told(found: Occupancy) -> str:
    lanes, nodes = sum(found.nodes.values()), len(found.nodes)
    told = (
        f"{lanes} {'lane' if lanes == 1 else 'lanes'} on {nodes} {'node' if nodes == 1 else 'nodes'} over "
        f"{found.span_s / 3600:.2f} h; {found.busy_s / 3600:.2f} h of work; idle share {100 * found.idle_share:.1f} %."
    )
    if found.gaps:
        gaps_h = sum(end - start for start, end in found.gaps) / 3600
        told += (
            f" Left out are {gaps_h:.2f} h in {len(found.gaps)} stretches of more than {BETWEEN_SESSIONS_S:.0f} s in "
            "which no worker was busy: the search was not running."
        )
    faults = sum(map(_is_fault, found.bars))
    return f"{told} {faults} {'fault' if faults == 1 else 'faults'}."


def _is_fault(bar: Bar) -> bool:
    return bar.lost or (bar.trial.state in LOST - {TrialState.INFEASIBLE} and bar.leg.number == bar.trial.legs)


def _figure(history: SearchHistory, found: Occupancy) -> go.Figure:
    names = [_lane(node, lane) for node, lanes in found.lanes.items() for lane in range(lanes)]
    figure = go.Figure()
    for state, colour in STATE_COLOURS.items():
        bars = [bar for bar in found.bars if bar.trial.state is state]
        if bars:
            figure.add_bar(
                orientation="h",
                name=state.value,
                y=[_lane(bar.leg.node, bar.lane) for bar in bars],
                base=[round(found.worked_until(bar.start_s) / 60, 3) for bar in bars],
                x=[round((bar.end_s - bar.start_s) / 60, 3) for bar in bars],
                marker={"color": colour, "line": {"width": 0.5, "color": "rgba(255,255,255,0.6)"}},
                text=[_hover(history, bar) for bar in bars],
                textposition="none",
                hovertemplate="%{text}<extra></extra>",
            )
    faults = [bar for bar in found.bars if _is_fault(bar)]
    if faults:
        figure.add_scatter(
            mode="markers",
            name="fault",
            x=[round(found.worked_until(bar.end_s) / 60, 3) for bar in faults],
            y=[_lane(bar.leg.node, bar.lane) for bar in faults],
            marker={"symbol": "x", "size": 10, "color": STATE_COLOURS[TrialState.FAILED]},
            text=[_hover(history, bar) for bar in faults],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_layout(
        barmode="overlay",
        height=min(160 + 28 * len(names), 1200),
        xaxis={"title": {"text": "time since the first worker began (min)"}, "rangemode": "tozero"},
        yaxis={"categoryorder": "array", "categoryarray": names[::-1], "type": "category"},
    )
    return figure


def _lane(node: str, lane: int) -> str:
    return plain(f"{node} {lane + 1}")


def _hover(history: SearchHistory, bar: Bar) -> str:
    minutes = (bar.end_s - bar.start_s) / 60
    return hover(history.result, bar.trial, [f"worker {bar.leg.number} on {bar.leg.node}, {minutes:.1f} min"])
