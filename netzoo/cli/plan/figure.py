"""The picture of a plan: memory and communication of each device against their number."""

import os
from collections.abc import Sequence

from matplotlib.figure import Figure

from netzoo.cli.plan.estimate import DATA_PARALLEL, SHARED, Estimate
from netzoo.figures import BLUE, DPI, INK, MUTED, RED

_COLORS = {DATA_PARALLEL: BLUE, SHARED: RED}


def draw(found: Sequence[Estimate], path: str | os.PathLike[str], title: str) -> None:
    """Draws both strategies.

    Args:
      found: Estimates for several numbers of devices; those for one belong to both strategies.
      path: PNG to write.
      title: One line above.
    """
    figure = Figure(figsize=(10, 4), dpi=DPI, layout="constrained")
    figure.suptitle(title, color=INK, fontsize=11)
    left, right = figure.subplots(1, 2)
    alone = [entry for entry in found if entry.devices == 1]
    for strategy, color in _COLORS.items():
        line = alone + [e for e in found if e.strategy == strategy and e.devices > 1]
        counts = [entry.devices for entry in line]
        memory, kept = (
            [getattr(e, name) / 2**20 for e in line] for name in ("memory", "arguments")
        )
        left.plot(counts, memory, "o-", color=color, label=f"{strategy}, during a step")
        left.plot(counts, kept, "o:", color=color, label=f"{strategy}, between steps")
        # Often one lies on the other.
        form = "o--" if strategy == SHARED else "s-"
        right.plot(counts, [e.sent_total / 2**20 for e in line], form, color=color, label=strategy)
    for axes, name in (
        (left, "Memory of a device, MiB"),
        (right, "Sent by a device in a step, MiB"),
    ):
        axes.set_title(name, color=INK, fontsize=10, loc="left")
        axes.set_xscale("log", base=2)
        axes.set_xticks([e.devices for e in found], [str(e.devices) for e in found])
        axes.minorticks_off()
        axes.set_xlabel("devices", color=MUTED)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, format="png")
