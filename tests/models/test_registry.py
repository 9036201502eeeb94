"""Registry: published sizes of every network, and suggestions for unknown names."""

import jax
import pytest

import netzoo
from netzoo.errors import UserError
from netzoo.models.registry import create_model, list_models, model_entry, register
from netzoo.models.summary import model_summary, variable_shapes
from tests.conftest import fast_only, own_networks

# Parameters with 1000 and with 5 classes (of a Transformer: tokens), BatchNorm's running statistics
# and millions of multiply-adds. The counts follow from the layer tables of the papers and equal
# those that torchvision, timm and vision_transformer publish.
SIZES = {
    "alexnet": (60_965_224, 56_888_709, 0, 724),
    "alexnet_owt": (61_100_840, 57_024_325, 0, 714),
    "vgg11": (132_863_336, 128_786_821, 0, 7_610),
    "vgg11_bn": (132_868_840, 128_792_325, 5_504, 7_610),
    "vgg13": (133_047_848, 128_971_333, 0, 11_310),
    "vgg13_bn": (133_053_736, 128_977_221, 5_888, 11_310),
    "vgg16": (138_357_544, 134_281_029, 0, 15_470),
    "vgg16_bn": (138_365_992, 134_289_477, 8_448, 15_470),
    "vgg16_c": (133_638_952, 129_562_437, 0, 11_770),
    "vgg19": (143_667_240, 139_590_725, 0, 19_630),
    "vgg19_bn": (143_678_248, 139_601_733, 11_008, 19_630),
    "googlenet": (13_378_280, 10_318_655, 0, 1_583),
    "googlenet_bn": (13_385_816, 10_326_191, 15_072, 1_583),
    "googlenet_tv": (13_004_888, 9_945_263, 15_072, 1_498),
    "mobilenet_v1": (4_231_976, 3_212_101, 21_888, 568.7),
    "mobilenet_v1_025": (470_072, 214_357, 5_472, 41.0),
    "mobilenet_v1_050": (1_331_592, 821_157, 10_944, 149.5),
    "mobilenet_v1_075": (2_585_560, 1_820_405, 16_416, 325.4),
    "mobilenet_v1_100h": (5_282_600, 4_262_725, 23_936, None),
    "mobilenet_v1_125": (6_270_840, 4_996_245, 27_360, None),
    "mobilenet_v2": (3_504_872, 2_230_277, 34_112, 300.8),
    "mobilenet_v2_035": (1_677_128, 402_533, 14_080, 59.3),
    "mobilenet_v2_050": (1_968_680, 694_085, 18_544, 97.1),
    "mobilenet_v2_075": (2_636_424, 1_361_829, 26_640, 209.1),
    "mobilenet_v2_110d": (4_516_520, 3_241_925, 47_488, None),
    "mobilenet_v2_120d": (5_831_144, 4_556_549, 63_776, None),
    "mobilenet_v2_130": (5_386_792, 3_730_117, 44_256, 509.4),
    "mobilenet_v2_140": (6_108_776, 4_324_741, 47_936, 582.2),
    "mobilenet_v3_large": (5_483_032, 4_208_437, 24_400, 216.6),
    "mobilenet_v3_large_075": (3_993_528, 2_718_933, 19_088, 155),
    "mobilenet_v3_large_150d": (14_622_320, 13_347_725, 53_472, None),
    "mobilenet_v3_large_minimalistic": (3_924_288, 2_649_693, 24_400, 209.1),
    "mobilenet_v3_small": (2_542_856, 1_522_981, 12_112, 56.5),
    "mobilenet_v3_small_050": (1_593_224, 573_349, 6_496, None),
    "mobilenet_v3_small_075": (2_041_872, 1_021_997, 9_680, None),
    "mobilenet_v3_small_minimalistic": (2_044_736, 1_024_861, 12_112, 52.3),
    "r26_b32": (101_383_976, 100_618_821, 0, 6_710),
    "r26_s32": (36_431_912, 36_048_837, 0, 3_460),
    "r50_b16": (98_659_112, 97_893_957, 0, 21_500),
    "r50_l32": (328_994_856, 327_974_981, 0, 19_400),
    "r_ti16": (6_337_704, 6_145_669, 0, 434),
    "resnet18": (11_689_512, 11_179_077, 9_600, 1_814),
    "resnet34": (21_797_672, 21_287_237, 17_024, 3_664),
    "resnet50": (25_557_032, 23_518_277, 53_120, 4_089),
    "resnet101": (44_549_160, 42_510_405, 105_344, 7_801),
    "resnet152": (60_192_808, 58_154_053, 151_424, 11_514),
    "resnext50_32x4d": (25_028_904, 22_990_149, 68_224, 4_230),
    "resnext101_32x8d": (88_791_336, 86_752_581, 202_880, 16_414),
    "wide_resnet50_2": (68_883_240, 66_844_485, 68_224, 11_398),
    "wide_resnet101_2": (126_886_696, 124_847_941, 137_856, 22_753),
    "transformer_tiny": (1_453_056, 1_325_696, 0, None),
    "transformer_base": (44_650_496, 44_141_056, 0, None),
    "transformer_big": (177_381_376, 176_362_496, 0, None),
    "vit_ti16": (5_717_416, 5_525_381, 0, 1_250),
    "vit_s16": (22_050_664, 21_667_589, 0, 4_600),
    "vit_s32": (22_878_952, 22_495_877, 0, 1_140),
    "vit_s8": (22_055_272, 21_672_197, 0, None),
    "vit_s14_dinov2": (22_441_192, 22_058_117, 0, None),
    "vit_b14_dinov2": (87_348_712, 86_583_557, 0, None),
    "vit_l14_dinov2": (305_392_616, 304_372_741, 0, None),
    "vit_s14_reg4_dinov2": (22_442_344, 22_059_269, 0, None),
    "vit_b14_reg4_dinov2": (87_351_016, 86_585_861, 0, None),
    "vit_l14_reg4_dinov2": (305_395_688, 304_375_813, 0, None),
    "vit_b32_clip": (88_225_000, 87_459_845, 0, None),
    "vit_b16_clip": (86_568_424, 85_803_269, 0, None),
    "vit_l14_clip": (304_204_776, 303_184_901, 0, None),
    "vit_h14_clip": (632_047_080, 630_772_485, 0, None),
    "vit_b8": (86_576_872, 85_811_717, 0, 78_100),
    "vit_b16": (86_567_656, 85_802_501, 0, 17_560),
    "vit_b32": (88_224_232, 87_459_077, 0, 4_410),
    "vit_l16": (304_326_632, 303_306_757, 0, 61_600),
    "vit_l32": (306_535_400, 305_515_525, 0, 15_400),
    "vit_h14": (632_045_800, 630_771_205, 0, 167_300),
}


def test_every_network_has_a_published_size():
    """Every network must be in the table of counts."""
    assert set(own_networks()) == set(SIZES), "add the new network's counts to SIZES"


# One a family, the smallest.
FAST = ("alexnet", "vgg11_bn", "googlenet_tv", "mobilenet_v1_025", "mobilenet_v2_035",
        "mobilenet_v3_small", "resnet18", "r_ti16", "transformer_tiny", "vit_ti16")  # fmt: skip


@pytest.mark.parametrize("name", fast_only(SIZES, FAST))
def test_sizes(name):
    """Parameters and multiply-adds equal the published counts."""
    thousand, five, statistics, millions = SIZES[name]
    size = model_entry(name).image_size
    classes = {"num_classes": 1000}  # a Transformer's own default is the paper's vocabulary
    summary = model_summary(create_model(name, **classes), size)
    assert (summary.parameters, summary.statistics) == (thousand, statistics)
    if millions is not None:
        assert summary.macs == pytest.approx(1e6 * millions, rel=0.01)
    few = variable_shapes(create_model(name, num_classes=5), size)
    assert sum(leaf.size for leaf in jax.tree.leaves(few["params"])) == five


def test_list_models_by_pattern():
    """Shell patterns, sorted; a pattern without a match is an empty list, not an error."""
    assert "mobilenet_v2" in list_models("mobilenet*")
    assert list_models() == sorted(list_models())
    assert list_models("*_v2") == [name for name in list_models() if name.endswith("_v2")]
    assert list_models("no_such_*") == []


def test_the_package_offers_both_functions():
    """`netzoo.create_model` and `netzoo.list_models` are the public names, loaded on first use."""
    assert netzoo.list_models() == list_models()
    assert netzoo.create_model is create_model
    with pytest.raises(AttributeError, match="no_such_thing"):
        netzoo.no_such_thing  # noqa: B018


def test_unknown_model_names_the_nearest():
    """The error for a misspelt network suggests the nearest name."""
    with pytest.raises(UserError, match=r"'mobilnet_v2'.*did you mean .*mobilenet_v2"):
        create_model("mobilnet_v2")


def test_hopeless_name_lists_what_there_is():
    """If no name is near, the error lists the valid names."""
    with pytest.raises(UserError, match=r"valid: .*mobilenet_v2"):
        create_model("zzzz")


@pytest.mark.parametrize(
    ("option", "nearest"), [("width", "width_multiplier"), ("dropout", "dropout_rate")]
)
def test_unknown_option_names_the_nearest(option, nearest):
    """A misspelt option is an error that suggests the nearest."""
    with pytest.raises(UserError, match=rf"option of mobilenet_v2 '{option}'.*{nearest}"):
        create_model("mobilenet_v2", **{option: 0.5})


@pytest.mark.parametrize("option", ["parent", "name"])
def test_lineage_is_no_option(option):
    """Flax's own fields are not options."""
    with pytest.raises((UserError, TypeError)):
        create_model("mobilenet_v2", **{option: "x"})


def test_no_name_twice():
    """A name can be registered only once."""
    with pytest.raises(ValueError, match="registered"):
        register("mobilenet_v2", lambda num_classes: None)
