"""Every family computes and trains as its reference does, from the same weights."""

import pytest

from netzoo.errors import UserError
from parity.cases import CASES
from parity.compare import Comparison
from tests.conftest import fast_only

# The smallest case of a family. The others are in the slow tier, and so are AlexNet and VGG, whose
# dense layers take longer than all that they share with the other families.
FAST = (
    "googlenet_tv",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "r_ti16",
    "resnet18",
    "transformer",
    "vit_ti16",
)

# With BatchNorm, without it, and the Transformer. Every family's logits are compared too.
FAST_TRAINING = ("resnet18", "transformer", "vit_ti16")

# In float64. What is left is the order of sums: 3e-12 at most so far.
TOLERANCE = 1e-10


@pytest.fixture(scope="module")
def comparison(request):
    """The network of a case; the tests of a case follow each other, as drawing it takes seconds."""
    return Comparison(request.param)


def of_cases(names, fast=FAST):
    """Parametrize a test with the comparisons of cases."""
    names = fast_only(names, fast)
    return pytest.mark.parametrize("comparison", names, indirect=True, scope="module")


@of_cases(list(CASES))
def test_logits(comparison):
    """Names, layout, padding, activations and running statistics are the reference's."""
    assert comparison.evaluation_error() <= comparison.case.tolerance


@of_cases(
    [name for name in CASES if CASES[name].in_tests or name in FAST],
    fast=FAST_TRAINING,
)
def test_training_mode(comparison):
    """One step's logits, new statistics and gradients of every parameter are the reference's."""
    errors = comparison.training_errors()
    assert {kind: e for kind, e in errors.items() if e > TOLERANCE} == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("vit_ti16", "gelu_approximate", True),
        ("vit_ti16_clip_quick_gelu", "quick_gelu", False),
        ("vit_ti16_patches", "pool", "token"),
    ],
)
def test_another_option_gives_other_logits(name, option, value):
    """These options do not change the tensors, so only the logits reveal a wrong option."""
    comparison = Comparison(name)
    options = {**comparison.case.options, option: value}
    comparison.case = comparison.case._replace(options=options)
    assert comparison.evaluation_error() > 10 * comparison.case.tolerance


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("vit_ti16_clip", "pre_norm", False),
        ("vit_ti16_patches", "norm_after_pool", False),
        ("vit_ti16_gap_fc_norm", "pool", "token"),
        ("vit_s14_reg4_dinov2", "patch_positions_only", False),
        ("vit_s14_reg4_dinov2", "register_tokens", 3),
        ("vit_s14_dinov2", "layer_scale", None),
    ],
)
def test_another_option_does_not_fit_the_tensors(name, option, value, monkeypatch):
    """A file that needs these options is refused without them."""
    options = {**CASES[name].options, option: value}
    monkeypatch.setitem(CASES, name, CASES[name]._replace(options=options))
    with pytest.raises(UserError, match=f"{name} does not fit the network"):
        Comparison(name)


@of_cases([name for name in CASES if not CASES[name].image_size], fast=())
def test_loss_of_translations(comparison):
    """Smoothed, over the real tokens of sentences of several lengths; and its gradients."""
    errors = comparison.translation_errors()
    assert {kind: e for kind, e in errors.items() if e > TOLERANCE} == {}
