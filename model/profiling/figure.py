"""A profile as bars, stage by stage."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from data.storage import whole_file
from model.profiling.profile import Profile

OURS, TWIN, NEUTRAL = "#3465a4", "#e0a05a", "#6b8e5a"


def write_profile_figure(profile: Profile, path: Path, title: str) -> None:
    """Draw a profile's stages as one .png, replacing what was there at the end."""
    stages = profile.stages
    figure = Figure(figsize=(16, 2.6 + 0.27 * len(stages)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    operations, energy, traffic, memory, firing = figure.subplots(1, 5, sharey=True)
    done = [stage.synops + stage.multiplied for stage in stages]
    twin = "the ReLU twin"
    _bars(operations, {"this net": done, twin: [stage.macs for stage in stages]})
    mean = profile.macs / len(stages)
    operations.axvline(mean, color="0.4", linewidth=1, linestyle="--")
    operations.set_title(f"operations a frame\n(dashed: the twin's mean; its peak {profile.balance:.2f} x)")
    _bars(
        energy,
        {
            "this net": [stage.energy_pj / 1e12 for stage in stages],
            twin: [stage.twin_energy_pj / 1e12 for stage in stages],
        },
        "J",
    )
    energy.set_title(f"energy a frame\n({profile.energy_ratio:.3f} of the twin's)")
    _bars(traffic, {"": [stage.cio / profile.time_steps for stage in stages]})
    traffic.set_title(f"CIO a time step, numbers\n({profile.cio / 1e6:,.2f} M in all)")
    _bars(memory, {"": [float(stage.activation_bytes) for stage in stages]}, "B")
    memory.set_title(f"activation memory in training\n({profile.activation_bytes / 1e6:,.1f} MB in all)")
    _bars(firing, {"": [stage.firing_rate or 0.0 for stage in stages]})
    firing.set_title("firing rate\n(mean count a neuron and step)")
    firing.xaxis.set_major_formatter("{x:g}")
    operations.set_yticks(range(len(stages)), [stage.name for stage in stages])
    operations.invert_yaxis()
    handles, names = operations.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=2, frameon=False)
    figure.suptitle(title)
    with whole_file(path) as file:
        figure.savefig(file, format="png")


def _bars(axis: Axes, series: dict[str, Sequence[float]], unit: str = "") -> None:
    height = 0.8 / len(series)
    for row, (name, values) in enumerate(series.items()):
        colour = NEUTRAL if len(series) == 1 else (OURS, TWIN)[row]
        places = np.arange(len(values)) + (row - (len(series) - 1) / 2) * height
        axis.barh(places, values, height, label=name, color=colour)
    axis.xaxis.set_major_formatter(EngFormatter(unit, sep="" if not unit else " "))
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", alpha=0.25)
    axis.set_axisbelow(True)
    axis.title.set_fontsize(10)
