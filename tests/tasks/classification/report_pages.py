"""Pages of small evaluations, for tests of what they show."""

import numpy as np

from netzoo.data.files import ImageError
from netzoo.tasks.classification.calibration import Temperature
from netzoo.tasks.classification.metrics import metrics_from_sums
from netzoo.tasks.classification.page import Rows, report_page
from netzoo.tasks.classification.report import report_of
from netzoo.tasks.classification.thumbnails import thumbnails
from netzoo.tasks.run_facts import RunFacts

NASTY = "<script>alert(1)</script>\"'&{{ 7*7 }}$x$\u202e"
LOGITS = np.log(
    # The second and fourth are wrong; the fourth is the most confident mistake.
    [[0.9, 0.08, 0.02], [0.48, 0.5, 0.02], [0.1, 0.6, 0.3], [0.01, 0.04, 0.95], [0.2, 0.3, 0.5]]
)
SUGGESTED = Temperature(1.5, "val")
LABELS = np.array([0, 0, 1, 0, 2])


class Pictures:
    """Five grey images with names."""

    name, split = "folder:pictures", "test"
    labels = LABELS

    def __init__(self, names):
        self.names = names

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        if self.names[index].startswith("gone"):
            raise ImageError("no such file")
        pixels = np.full((90, 120, 3), 4 * index, np.uint8)
        return {"image": pixels, "label": 0, "name": self.names[index]}


def facts(**changes):
    lines = [
        {
            **{"kind": "train", "step": step, "epoch": step / 2, "loss": 1 / step},
            **{"learning_rate": 0.1},
            "timing": {"process": "1", "wall_seconds": 60.0 * step, "images_per_second": 100.0},
        }
        for step in (1, 2, 3)
    ]
    own = {
        **{"network": "small", "data": "folder:pictures", "validation_split": "val"},
        **{"metric": "accuracy", "command": "netzoo eval --workdir runs/x", "seconds": 2.0},
        **{"workdir": "runs/x", "environment": {"command": "netzoo train", "parameters": 1234}},
        **{"train": lines, "lines": lines},
    }
    return RunFacts(**own | changes)


def page_of(
    classes,
    names,
    logits=LOGITS,
    labels=LABELS,
    temperature=SUGGESTED,
    kept=True,
    comparison=None,
    heat=lambda indices: {},
    **changes,
):
    """Return the page of an evaluation with these logits."""
    source, count = Pictures(names), len(labels)
    predicted = logits.argmax(-1)
    confusion = np.zeros((len(classes), len(classes)), int)
    np.add.at(confusion, (labels, predicted), 1)
    sums = {"confusion": confusion, "topk_correct": count, "loss_sum": 1.0, "count": count}
    rows = {"logits": logits, "label": labels, "mask": np.ones(count, bool)} if kept else {}
    details, _ = report_of(source, classes, "title", confusion, rows, temperature)
    report = {
        **metrics_from_sums(sums, classes, 2),
        **details,
        **{"split": "test", "step": 3, "checkpoint": "last", "weights": "params"},
        **{"versions": {"jax": "1.2"}, "commit": None},
        **({"comparison": comparison} if comparison else {}),
    }
    run, picture = facts(**changes), thumbnails(source, 0.875)
    return report_page(report, Rows.of(rows), source, picture, run, trained_on=False, heat=heat)
