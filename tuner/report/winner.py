"""The winner's sections: what it finds and misses, how sure that is, what it costs, and on what data."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from tuner.examination.examination import Examination
from tuner.report.data_section import data_section
from tuner.report.section import Column, Section, figure_html, nothing, pairs_html, paragraph, table_html

_HEIGHT = 380  # px of a figure
_ONE = "0 to 1"
_KINDS = {"best": "Best windows", "worst": "Worst windows", "random": "Drawn at random"}
Figures = Mapping[str, Any]


def winner_sections(examination: Examination) -> list[Section]:
    """All that an examination tells; where there is none, one section that says why."""
    if not examination.figures or examination.folder is None:
        why = examination.reason or "it was not examined"
        return [Section("winner", "The winner, examined", nothing(f"The winner is not examined: {why}."))]
    figures, folder = examination.figures, examination.folder
    return [
        Section("winner", "The winner, examined", _summary(examination)),
        Section("winner-classes", "Precision by class", _classes(figures["evaluation"])),
        Section("winner-curves", "Precision against recall", _curves(figures["evaluation"])),
        Section("winner-calibration", "Calibration", _calibration(figures["evaluation"])),
        Section("winner-gallery", "What it sees", _gallery(figures["gallery"], folder)),
        Section("winner-clip", "A tracked clip", _clip(figures["clip"], folder)),
        Section("winner-cost", "What the winner costs", _cost(figures["cost"])),
        data_section(figures["audit"]),
    ]


def _summary(examination: Examination) -> Markup:
    figures = examination.figures
    evaluation, drawn, default = figures["evaluation"], figures["intervals"], figures["default"]
    where = f"{evaluation['windows']:,} windows of the split '{figures['split']}'"
    rows = [("mAP", f"{evaluation['map']:.4f}, 95 % interval {_range(examination.map_interval)} ({_ONE})")]
    if default is not None:
        rows.append(("default's mAP", f"{default['map']:.4f}, {_range(examination.default_map_interval)}"))
        gain = evaluation["map"] - default["map"]
        rows.append(("better than the default by", f"{gain:+.4f}, {_range(examination.difference_interval)}"))
    rows += [
        ("AP50", f"{evaluation['map50']:.4f}"),
        ("AP75", f"{evaluation['map75']:.4f}"),
        ("all classes as one", f"{evaluation['map_agnostic']:.4f}"),
        ("weights", f"of epoch {figures['epoch']}"),
    ]
    caution = (
        f"Measured on {where}. The intervals are of {drawn['resamples']} bootstrap draws of {drawn['units']:,} "
        f"{drawn['unit']}: they tell how much these {drawn['unit']} decide, not what another training would come to, "
        "and the winner was chosen on the same windows, so a part of its lead is luck."
    )
    if drawn["unit"] == "windows":
        caution += " Windows of one recording look alike, so the true intervals are wider."
    return pairs_html(rows) + paragraph(caution)


def _range(interval: tuple[float, float] | None) -> str:
    return "no interval" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


def _classes(evaluation: Figures) -> Markup:
    per_class = evaluation["per_class"]
    columns = [Column("class"), *(Column(title, _ONE, ".4f") for title in ("AP", "AP50", "AP75"))]
    rows = [[name, *_precisions(told, ("ap", "ap50", "ap75"))] for name, told in per_class.items()]
    figure = go.Figure()
    known = {name: told for name, told in per_class.items() if told is not None}
    for key, title, colour in (("ap", "AP", "#1971c2"), ("ap50", "AP50", "#74c0fc")):
        figure.add_bar(name=title, x=list(known), y=[told[key] for told in known.values()], marker_color=colour)
    figure.update_layout(
        height=_HEIGHT, barmode="group", yaxis={"title": {"text": f"average precision ({_ONE})"}, "range": [0, 1]}
    )
    parts = [
        [title, *_precisions(evaluation[name], ("map", "map50"))]
        for name, title in (
            ("day", "by day"),
            ("night", "by night"),
            ("small", "small, below 32² px"),
            ("medium", "medium"),
            ("large", "large, from 96² px"),
            ("unfiltered", "without the protocol's size filter"),
            ("unfiltered_small", "small, without the filter"),
        )
    ]
    says = "Average precision of each class by COCO's rule, over IoU 0.50 to 0.95 and at 0.50; higher is better."
    return (
        figure_html(figure, says)
        + table_html(columns, rows)
        + paragraph("The same over parts of the recordings and of the boxes; absent where the split has none.")
        + table_html([Column("part"), Column("mAP", _ONE, ".4f"), Column("AP50", _ONE, ".4f")], parts)
    )


def _precisions(told: Figures | None, keys: Sequence[str]) -> list[float | None]:
    return [None if told is None else told[key] for key in keys]


def _curves(evaluation: Figures) -> Markup:
    curves = evaluation["precision_recall"]
    figure = go.Figure()
    lines = [*curves["per_class"].items(), ("all classes as one", curves["agnostic"])]
    for name, curve in lines:
        if curve is not None:
            dash = "dot" if name == "all classes as one" else "solid"
            y = [round(value, 4) for value in curve["ap50"]]
            figure.add_scatter(mode="lines", name=name, x=curves["recall"], y=y, line={"dash": dash})
    figure.update_layout(
        height=_HEIGHT,
        xaxis={"title": {"text": f"recall ({_ONE})"}, "range": [0, 1]},
        yaxis={"title": {"text": f"precision ({_ONE})"}, "range": [0, 1.02]},
    )
    says = "Share of found boxes that are right against the share of true boxes that are found, at an IoU of 0.50."
    return figure_html(figure, says)


def _calibration(evaluation: Figures) -> Markup:
    bins = evaluation["reliability"]
    filled = [row for row, count in enumerate(bins["counts"]) if count]
    if not filled:
        return nothing("No box was found with a score that is judged.")
    width = 1 / len(bins["counts"])
    figure = go.Figure()
    figure.add_bar(
        name="share that is right",
        x=[(row + 0.5) * width for row in filled],
        y=[bins["precision"][row] for row in filled],
        width=0.95 * width,
        marker_color="#1971c2",
        customdata=[bins["counts"][row] for row in filled],
        hovertemplate="%{y:.3f} of %{customdata:,} boxes<extra></extra>",
    )
    figure.add_scatter(
        name="perfectly calibrated", mode="lines", x=[0, 1], y=[0, 1], line={"dash": "dash", "color": "#868e96"}
    )
    figure.update_layout(
        height=_HEIGHT,
        xaxis={"title": {"text": f"score ({_ONE})"}, "range": [0, 1]},
        yaxis={"title": {"text": f"share of boxes that are right ({_ONE})"}, "range": [0, 1.02]},
    )
    error = evaluation["ece"]
    told = "undefined" if error is None else f"{error:.4f}"
    says = (
        f"Share of boxes that meet a true one by an IoU of 0.50, by their score from {bins['score_floor']} on; bars "
        f"below the line are scores too sure of themselves, and the expected calibration error is {told}."
    )
    return figure_html(figure, says)


def _gallery(gallery: Figures, folder: Path) -> Markup:
    told = paragraph(
        f"Events are blue and red, true boxes green, found ones from a score of {gallery['score']} on magenta. Best "
        f"and worst are by F1 of these boxes at an IoU of {gallery['overlap']}; the rest is drawn with a fixed seed."
    )
    for kind, title in _KINDS.items():
        shown = [picture for picture in gallery["pictures"] if picture["kind"] == kind]
        if shown:
            pictures = Markup("").join(_picture(picture, folder) for picture in shown)
            told += Markup('<h3>{}</h3><div class="gallery">{}</div>').format(title, pictures)
    return told if gallery["pictures"] else nothing("The split has no window with a true box.")


def _picture(picture: Figures, folder: Path) -> Markup:
    says = (
        f"{picture['recording']} at {picture['time_s']:.2f} s: F1 {picture['f1']:.2f}, "
        f"{picture['true']} true boxes, {picture['found']} found"
    )
    return _image(folder / picture["file"], says)


def _clip(clip: Figures | None, folder: Path) -> Markup:
    if clip is None:
        return nothing("The clip is too large for a page; `spiketune show` and `spiketune detect` draw one.")
    says = (
        f"{clip['seconds']:.1f} s of {clip['recording']} from {clip['start_s']:.1f} s on: each of the {clip['tracks']} "
        "tracks has a colour and a number of its own; labels are thin and grey."
    )
    return _image(folder / clip["file"], says)


def _image(path: Path, says: str) -> Markup:
    content = base64.b64encode(path.read_bytes()).decode()
    return Markup(
        '<figure><img src="data:image/webp;base64,{}" alt="{}" loading="lazy"><figcaption>{}</figcaption></figure>'
    ).format(content, says, says)


def _cost(cost: Figures) -> Markup:
    saved = cost["twin_energy_uj"] / cost["energy_uj"] if cost["energy_uj"] else None
    against = "" if saved is None else f"; the same net without spikes takes {saved:.1f} times as much"
    pairs = [
        ("parameters", f"{cost['parameters']:,}"),
        (
            "a window",
            f"{cost['window_us'] / 1000:g} ms in {cost['time_steps']} steps of {cost['width']}x{cost['height']} px",
        ),
        ("energy", f"{cost['energy_uj']:,.1f} µJ a window (estimated: 45 nm, 0.9 pJ an addition){against}"),
        ("SynOps", f"{cost['synops'] / 1e6:,.1f} million additions a window"),
        ("multiplications", f"{cost['multiplied'] / 1e6:,.1f} million a window, in the stem"),
        (
            "latency",
            f"median {cost['latency_ms']:.1f} ms a window, 99 % within {cost['latency_p99_ms']:.1f} ms ({cost['runs']} "
            f"runs on {cost['device']}, {cost['threads']} threads, with whatever else ran on the machine)",
        ),
    ]
    return pairs_html(pairs)
