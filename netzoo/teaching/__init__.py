"""Lessons: what each network taught, computed and drawn again.

A lesson is a file of the folder lessons/ with three functions: `measure` computes numbers, `claims`
judges them, and `draw` draws them. `netzoo lesson NAME` calls them.
"""

from netzoo.figures import tiles
from netzoo.teaching.convolutions import Convolution, convolutions
from netzoo.teaching.figures import (
    COLORS,
    bars,
    chart,
    label,
    lines,
    maps,
    panels,
    picture,
    smooth,
)
from netzoo.teaching.fit import (
    Fit,
    batches,
    endpoint_percentiles,
    evaluator,
    fit,
    fit_loss,
    gradient_norms,
    initial_variables,
    normalize,
    sgd,
)
from netzoo.teaching.gates import class_share, squeeze_excite_gates
from netzoo.teaching.landscape import loss_along, random_direction
from netzoo.teaching.lesson import (
    Claim,
    Lesson,
    Numbers,
    Setting,
    by_seed,
    list_lessons,
    load_lesson,
    verdict,
)
from netzoo.teaching.norms import variance_ratios
from netzoo.teaching.pictures import Pictures
from netzoo.teaching.predictor import predictor
from netzoo.teaching.programs import programs_until
from netzoo.teaching.receptive_field import field_widths, gradient_map, random_gradient_map
from netzoo.timing import interleaved_times

__all__ = [
    "COLORS",
    "Claim",
    "Convolution",
    "Fit",
    "Lesson",
    "Numbers",
    "Pictures",
    "Setting",
    "bars",
    "batches",
    "by_seed",
    "chart",
    "class_share",
    "convolutions",
    "endpoint_percentiles",
    "evaluator",
    "field_widths",
    "fit",
    "fit_loss",
    "gradient_map",
    "gradient_norms",
    "initial_variables",
    "interleaved_times",
    "label",
    "lines",
    "list_lessons",
    "load_lesson",
    "loss_along",
    "maps",
    "normalize",
    "panels",
    "picture",
    "predictor",
    "programs_until",
    "random_direction",
    "random_gradient_map",
    "sgd",
    "smooth",
    "squeeze_excite_gates",
    "tiles",
    "variance_ratios",
    "verdict",
]
