"""The pictures of an evaluation for TensorBoard: confusion matrix and example predictions."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy

from netzoo import figures
from netzoo.data.batching import evenly_spaced
from netzoo.data.files import ImageError
from netzoo.data.images import evaluation_image
from netzoo.data.source import Source, example_name
from netzoo.tasks.classification.figures import confusion_figure, prediction_figure
from netzoo.tasks.classification.page import Rows

_EXAMPLES, _CLASSES, _SIDE = 9, 3, 160


def evaluation_pictures(
    report: Mapping[str, Any], rows: Rows | None, source: Source, crop_pct: float
) -> dict[str, bytes]:
    """Return pictures as PNG files by their names.

    `report` holds the contents of `eval.json`. Without `rows`, example predictions are left out.
    """
    names = report["class_names"]
    confusion = confusion_figure(np.asarray(report["confusion"]), names, "")
    found = {"confusion matrix": figures.png(confusion)}
    images, lines = [], []
    for place in evenly_spaced(len(rows.label), _EXAMPLES) if rows else ():
        assert rows
        index = int(rows.position[place])
        try:
            example = source[index]
            pixels = evaluation_image(example["image"], example["name"], _SIDE, crop_pct)
        except ImageError:
            continue
        shares = scipy.special.softmax(rows.logits[place].astype(np.float64))
        best = np.argsort(-shares, kind="stable")[:_CLASSES]
        caption = f"{names[rows.label[place]]}: {example_name(source, index)}"
        images.append(pixels)
        lines.append((caption, [(names[k], float(shares[k])) for k in best]))
    if images:
        found["example predictions"] = figures.png(prediction_figure(images, lines))
    return found
