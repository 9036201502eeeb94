"""Draws memory and communication per device against the number of devices."""

import os
from collections.abc import Sequence

from netzoo.cli.plan.estimate import DATA_PARALLEL, SHARED, Estimate
from netzoo.figures import BLUE, INK, MUTED, RED, new_figure, save


def draw(estimates: Sequence[Estimate], path: str | os.PathLike[str], title: str) -> None:
    """Draw both strategies as a PNG; the estimate for a single device belongs to both."""
    figure = new_figure(10, 4, title)
    memory, sent = figure.subplots(1, 2)
    for strategy, color, line in ((DATA_PARALLEL, BLUE, "s-"), (SHARED, RED, "o--")):
        chosen = [e for e in estimates if e.strategy == strategy or e.devices == 1]
        for axes, name, form, label in (
            (memory, "memory", "o-", f"{strategy}, during a step"),
            (memory, "arguments", "o:", f"{strategy}, between steps"),
            (sent, "sent", line, strategy),
        ):
            sizes = [getattr(e, name) / 2**20 for e in chosen]
            axes.plot([e.devices for e in chosen], sizes, form, color=color, label=label)
    titles = {memory: "Memory of a device, MiB", sent: "Sent by a device in a step, MiB"}
    for axes, text in titles.items():
        axes.set_title(text, color=INK, fontsize=10, loc="left")
        axes.set_xscale("log", base=2)
        axes.set_xticks([e.devices for e in estimates], [str(e.devices) for e in estimates])
        axes.minorticks_off()
        axes.set_xlabel("devices", color=MUTED)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    save(figure, path)
