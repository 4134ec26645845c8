"""Draws docs/schedules.png: every learning-rate schedule, from the code that trains.

python benchmarks/schedules.py [--out docs/schedules.png]
"""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from model.optimizer import OptimizerConfig, ScheduleName
from model.schedule import learning_rate

EPOCHS, STEPS = 20, 100
SHOWN: dict[ScheduleName, dict[str, Any]] = {
    ScheduleName.CONSTANT: {},
    ScheduleName.STEP: {"step_epochs": 6.0, "step_gamma": 0.3},
    ScheduleName.COSINE: {},
    ScheduleName.ONECYCLE: {"warmup_epochs": 0},
    ScheduleName.CYCLIC: {"cycle_epochs": 6.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/schedules.png"))
    arguments = parser.parse_args()
    figure, panels = plt.subplots(1, len(SHOWN), figsize=(13, 2.6), sharey=True, layout="constrained")
    steps = range(EPOCHS * STEPS)
    for panel, (name, leaves) in zip(panels, SHOWN.items(), strict=True):
        config = OptimizerConfig.parse({"schedule": name.value, "warmup_epochs": 2, **leaves}, "the picture")
        factor = learning_rate(config, EPOCHS, STEPS)
        panel.plot([step / STEPS for step in steps], [factor(step) for step in steps], color="#2a6f97", linewidth=1.8)
        panel.set_title(name.value, fontsize=11)
        panel.set_xlabel("epoch")
        panel.grid(visible=True, color="#dddddd", linewidth=0.6)
        panel.set_ylim(0, 1.05)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("learning rate / highest")
    figure.savefig(arguments.out, dpi=90)


if __name__ == "__main__":
    main()
