"""What the search benchmark must show, from the regrets of ours and its rivals."""

from collections.abc import Mapping

from benchmarks.search_regret import Cells, Estimate, mean, part, ratio, shared
from benchmarks.table import Row, limit

AT_25, AT_50, AT_END = range(3)
STOCK = ("ray", "ultralytics", "optuna-asha")  # what others ship as it comes
STOCK_MOST = 0.45
MOST_MS = 100.0
UNRIVALLED = ("random",)  # without stopping: the unit of regret, not a rival


def verdicts(noise: float, ours: Cells, rivals: Mapping[str, Cells]) -> list[Row]:
    """The rows of one level of noise."""
    rivals = {name: cells for name, cells in rivals.items() if name not in UNRIVALLED}
    if not rivals:
        return []
    if noise == 0.0:
        return _noiseless(ours, rivals)
    most = 0.75 if noise < 0.65 else 0.9
    label = f"regret with noise of {noise:g} points"
    return [*_best_and_slow(label, ours, rivals, most), _worst(label, ours, rivals)]


def pace(suggesting_ms: float) -> Row:
    """How long ours thinks, by processor time, which others on the machine do not lengthen."""
    row = limit("ms a suggestion", suggesting_ms, MOST_MS)
    return {**{key: row[key] for key in ("figure", "ours", "peer", "ratio")}, "interval": "", **row}


def _noiseless(ours: Cells, rivals: Mapping[str, Cells]) -> list[Row]:
    better = {name: cells for name, cells in rivals.items() if name not in STOCK}
    rows = _best_and_slow("regret", ours, better, 0.65, apart=True)
    for share, reading in ((25, AT_25), (50, AT_50)):
        rows.append(_best(f"regret at {share} % of the budget", ours, rivals, reading, 1.0))
    for name in STOCK:
        if name in rivals:
            compared = ratio(ours, rivals[name], AT_END)
            rows.append(_row(f"regret, {name}", ours, rivals[name], AT_END, compared, STOCK_MOST))
    return rows


def _best_and_slow(
    label: str, ours: Cells, rivals: Mapping[str, Cells], most: float, *, apart: bool = False
) -> list[Row]:
    """The best of those that ran as often as ours, and each of the slow ones, whose few seeds tell less."""
    full = {name: cells for name, cells in rivals.items() if len(shared(ours, cells)) == len(ours)}
    rows = [_best(label, ours, full, AT_END, most, apart=apart)] if full else []
    for name, cells in rivals.items():
        if name not in full:
            told = f"{label}, {name} (few seeds)"
            rows.append(_row(told, ours, cells, AT_END, ratio(ours, cells, AT_END), most))
    return rows


def _best(
    label: str, ours: Cells, rivals: Mapping[str, Cells], reading: int, most: float, *, apart: bool = False
) -> Row:
    """Against the rival that comes nearest to ours, where both ran."""
    ratios = {name: ratio(ours, cells, reading) for name, cells in rivals.items()}
    name = max(ratios, key=lambda rival: ratios[rival].value)
    row = _row(f"{label}, best rival ({name})", ours, rivals[name], reading, ratios[name], most)
    if apart:
        low = mean(part(rivals[name], ours), reading).low
        row["must"] += ", intervals apart"
        row["holds"] = row["holds"] and mean(part(ours, rivals[name]), reading).high < low
    return row


def _worst(label: str, ours: Cells, rivals: Mapping[str, Cells]) -> Row:
    """Never significantly worse than any."""
    ratios = {name: ratio(ours, cells, AT_END) for name, cells in rivals.items()}
    name = max(ratios, key=lambda rival: ratios[rival].low)
    row = _row(f"{label}, significantly worse than {name}", ours, rivals[name], AT_END, ratios[name], 1.0)
    row["must"] = "interval reaches 1"
    row["holds"] = ratios[name].low <= 1
    return row


def _row(figure: str, ours: Cells, peer: Cells, reading: int, compared: Estimate, most: float) -> Row:
    return {
        "figure": figure,
        "ours": mean(part(ours, peer), reading).value,
        "peer": mean(part(peer, ours), reading).value,
        "ratio": compared.value,
        "interval": f"{compared.low:.2f} to {compared.high:.2f}",
        "must": f"<= {most:g}",
        "holds": compared.value <= most,
    }
