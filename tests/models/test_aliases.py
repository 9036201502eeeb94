"""Names of networks in other projects."""

import pytest

import netzoo
from netzoo.errors import UserError
from netzoo.models import create_model, list_models, model_entry
from netzoo.models.aliases import ALIASES, TIMM_NAMES, nearest
from netzoo.models.registry import check_options, own_name


def test_every_alias_is_a_network():
    """Protects the table: networks and options exist; aliases differ from netzoo's own names."""
    for name, alias in ALIASES.items():
        assert name not in list_models() and alias.model in list_models(), name
        check_options(name, alias.options)


def test_exported_names_are_aliases():
    """The names of timm that netzoo writes mean the same networks when it reads them."""
    assert {ours: own_name(theirs)[0] for ours, theirs in TIMM_NAMES.items()} == {
        ours: ours for ours in TIMM_NAMES
    }


def test_an_alias_brings_options_and_image_size():
    """Weights that TensorFlow trained need its padding; the caller's options come first."""
    tensorflow = create_model("tf_mobilenetv3_large_100", 5)
    expected = {"padding": "same", "norm_epsilon": 1e-3}
    assert tensorflow == create_model("mobilenet_v3_large", 5, **expected)
    assert create_model("mobilenetv3_large_100").norm_epsilon == 1e-5
    assert create_model("mobilenetv3_large_100", norm_epsilon=0.1).norm_epsilon == 0.1
    assert create_model("vit_base_patch16_384") == create_model("vit_b16")
    clip = create_model("vit_large_patch14_clip_quickgelu_336")
    assert clip == create_model("vit_l14_clip", quick_gelu=True) and clip.pre_norm
    assert model_entry("vit_base_patch16_384").image_size == 384
    assert model_entry("vit_base_patch16_224").image_size == 224


@pytest.mark.parametrize(
    ("name", "nearby", "lacking"),
    [
        ("resnet50d", "resnet50", "deep stem"),
        ("resnet26", "resnet50", "depth"),
        ("resnext50d_32x4d", "resnet50", "deep stem"),
        ("resnext101_64x4d", "resnext101_32x8d", "width of groups"),
        ("seresnet50", "resnet50", "attention over channels"),
        ("vit_medium_patch16_clip_224", "vit_b16_clip", "width"),
        ("vit_giant_patch14_reg4_dinov2", "vit_l14_dinov2", "SwiGLU"),
        ("deit3_medium_patch16_224", "vit_b16", "width"),
        ("mobilenetv4_conv_small", "mobilenet_v3_large", "inverted bottlenecks"),
        ("mobilenetv3_rw", "mobilenet_v3_large", "without bias"),
        ("efficientnet_b0", "mobilenet_v2", "stages"),
    ],
)
def test_a_name_that_is_nearly_one_of_ours(name, nearby, lacking):
    """The error names the nearest network and says what it lacks, also for names of weights."""
    for use in (create_model, lambda name: netzoo.load(f"{name}.a1_in1k")):
        with pytest.raises(UserError, match=f"nearest network is {nearby}, .*{lacking}"):
            use(name)


def test_own_networks_are_not_refused():
    """Protects names of netzoo from the patterns of other projects' names."""
    for name in ("resnet50", "vit_b16", "mobilenet_v2_140", "resnext50_32x4d"):
        assert model_entry(name)
    assert nearest("my_network") is None
