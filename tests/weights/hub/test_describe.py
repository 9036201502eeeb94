"""What config.json and preprocessor_config.json say about weights."""

import re

import pytest

from netzoo.errors import UserError, note_once
from netzoo.weights.class_names import imagenet_classes
from netzoo.weights.hub.find import describe

HALF, IMAGENET = [0.5] * 3, [0.485, 0.456, 0.406]
# As timm writes it, with a test size of its own.
TIMM = {
    "architecture": "resnet50",
    "num_classes": 1000,
    "num_features": 2048,
    "global_pool": "avg",
    "pretrained_cfg": {
        "tag": "a1_in1k",
        "input_size": [3, 224, 224],
        "test_input_size": [3, 288, 288],
        "crop_pct": 0.95,
        "test_crop_pct": 1.0,
        "crop_mode": "center",
        "interpolation": "bicubic",
        "mean": IMAGENET,
        "std": [0.229, 0.224, 0.225],
        "license": "apache-2.0",
    },
}
VIT = {
    **{"architectures": ["ViTForImageClassification"], "model_type": "vit", "num_channels": 3},
    **{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    **{"intermediate_size": 3072, "patch_size": 16, "hidden_act": "gelu", "image_size": 224},
    **{"layer_norm_eps": 1e-12, "id2label": {"0": "tench", "1": "goldfish"}},
}
RESNET = {
    **{"architectures": ["ResNetForImageClassification"], "model_type": "resnet"},
    **{"depths": [3, 4, 6, 3], "hidden_sizes": [256, 512, 1024, 2048], "embedding_size": 64},
    **{"layer_type": "bottleneck", "hidden_act": "relu", "downsample_in_first_stage": False},
    "id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"},
}
MOBILE_NET = {
    **{"architectures": ["MobileNetV1ForImageClassification"], "model_type": "mobilenet_v1"},
    **{"depth_multiplier": 0.75, "layer_norm_eps": 0.001, "tf_padding": True, "min_depth": 8},
    **{"hidden_act": "relu6", "id2label": {"1": "tench", "0": "background"}},
}
PROCESSOR = {
    **{"do_resize": True, "do_rescale": True, "do_normalize": True, "resample": 2},
    **{"size": {"height": 224, "width": 224}, "image_mean": HALF, "image_std": HALF},
}


def timm(images=None, **values):
    """Return the description of `TIMM` with other values."""
    config = {**TIMM, **values, "pretrained_cfg": {**TIMM["pretrained_cfg"], **(images or {})}}
    return describe(config, None, "config.json of x")


def of(config, processor=PROCESSOR, **values):
    """Return the description of a config.json of transformers with other values."""
    return describe({**config, **values}, processor, "config.json of x")


def test_timm_gives_the_preprocessing_of_its_accuracy():
    """The test size and crop are those that timm's accuracies are quoted with."""
    found = timm()
    assert (found.model, found.num_classes, found.licence) == ("resnet50", 1000, "apache-2.0")
    assert found.preprocessing[2:] == (288, 288, "bicubic", "center")
    assert found.preprocessing.mean == (123.675, 116.28, 103.53)
    assert found.class_names == imagenet_classes()
    # timm rounds the shorter side down: 224 / 0.95 is 235.8.
    older = timm({"test_input_size": None, "test_crop_pct": None, "tag": "x"})
    assert older.preprocessing[2:] == (235, 224, "bicubic", "center") and older.class_names is None
    assert timm(label_names=["a", "b"], num_classes=2).class_names == ("a", "b")
    assert timm(label_names=["a", "b"], num_classes=3).class_names is None
    flat = {**TIMM, **TIMM["pretrained_cfg"]}
    del flat["pretrained_cfg"]
    assert describe(flat, None, "x") == found


@pytest.mark.parametrize(
    ("architecture", "pool", "model", "options"),
    [
        ("mobilenetv1_100", "avg", "mobilenet_v1", {"padding": "torch", "norm_epsilon": 1e-5}),
        ("tf_mobilenetv3_large_minimal_100", "avg", "mobilenet_v3_large_minimalistic",
         {"padding": "same", "norm_epsilon": 1e-3}),
        ("tf_mobilenetv3_small_075", "avg", "mobilenet_v3_small_075", {"padding": "same"}),
        ("vit_base_patch16_384", "token", "vit_b16", {"gelu_approximate": False}),
        ("deit_tiny_patch16_224", "token", "vit_ti16", {"gelu_approximate": False}),
        ("deit3_base_patch16_384", "token", "vit_b16",
         {"layer_scale": 1e-6, "patch_positions_only": True}),
        ("vit_large_patch14_clip_quickgelu_336", "token", "vit_l14_clip", {"quick_gelu": True}),
        ("vit_small_patch14_reg4_dinov2", "token", "vit_s14_reg4_dinov2", {}),
        ("vit_base_patch16_224", "avg", "vit_b16", {"pool": "patches", "norm_after_pool": True}),
        ("vit_base_r50_s16_384", "token", "r50_b16", {"padding": "same"}),
    ],
)  # fmt: skip
def test_timm_gives_the_network_and_its_options(architecture, pool, model, options):
    """The options follow from the name of the architecture."""
    found = timm(architecture=architecture, global_pool=pool)
    assert found.model == model and options.items() <= dict(found.options).items()


def test_arguments_of_timm_change_the_options():
    """Netzoo's own hub folders store these arguments; those of training are left out."""
    vit = {"architecture": "vit_base_patch16_224", "global_pool": "token"}
    arguments = {"act_layer": "gelu_tanh", "drop_path_rate": 0.1}
    assert timm(**vit, model_args=arguments).options["gelu_approximate"] is True
    assert timm(model_args={"bn_eps": 0.25}).options["norm_epsilon"] == 0.25
    arguments = {"class_token": False, "fc_norm": False}
    gap = timm(architecture="vit_base_patch16_224", global_pool="avg", model_args=arguments)
    assert (gap.options["pool"], gap.options["norm_after_pool"]) == ("gap", False)
    arguments = {"pre_norm": True, "reg_tokens": 4, "no_embed_class": True, "init_values": 1e-5}
    options = timm(**vit, model_args={**arguments, "act_layer": "quick_gelu"}).options
    expected = {"pre_norm": True, "register_tokens": 4, "patch_positions_only": True}
    expected |= {"layer_scale": 1e-5, "quick_gelu": True}
    assert expected.items() <= options.items()
    with pytest.raises(UserError, match="reg_tokens = 'x'"):
        timm(**vit, model_args={"reg_tokens": "x"})


@pytest.mark.parametrize(
    ("images", "values", "message"),
    [
        ({}, {"architecture": "resnet50d"}, "resnet50d.* lacks the deep stem"),
        ({}, {"architecture": "tf_resnet50"}, "does not have the architecture 'tf_resnet50'"),
        ({}, {"architecture": "alexnet"}, "does not have the architecture 'alexnet'"),
        ({}, {"global_pool": "catavgmax"}, "global_pool = 'catavgmax'; expected 'avg'"),
        ({}, {"model_args": {"aa_layer": "avg"}}, "model_args.aa_layer = 'avg'"),
        ({"crop_mode": "border"}, {}, "center or squash for crop_mode, got 'border'"),
        ({"test_input_size": [1, 224, 224]}, {}, r"pretrained_cfg.test_input_size = \[1, 224"),
        ({"interpolation": "lanczos"}, {}, "interpolation"),
        ({"std": [0, 1, 1]}, {}, "std"),
        ({"mean": "x"}, {}, "mean"),
    ],
)
def test_what_timm_has_and_netzoo_cannot_express_is_refused(images, values, message):
    """The error names the file, the field and its value."""
    with pytest.raises(UserError, match=message) as error:
        timm(images, **values)
    assert str(error.value).startswith("config.json of x: ")


def test_transformers_gives_network_images_and_classes():
    """The four families that transformers has, in the form of their best-known repositories."""
    found = of(VIT)
    assert found.model == "vit_b16" and found.class_names == ("tench", "goldfish")
    assert found.options == {"gelu_approximate": False, "norm_epsilon": 1e-12}
    assert found.preprocessing[2:] == (224, 224, "bilinear", "squash")
    assert found.preprocessing.mean == (127.5,) * 3 and found.prefix == ""
    base = of(VIT, architectures=["ViTModel"], id2label=None, hidden_act="gelu_new")
    assert base.num_classes == 0 and base.prefix == "vit."
    assert base.options["gelu_approximate"] is True
    processor = {**PROCESSOR, "feature_extractor_type": "ConvNextFeatureExtractor"}
    processor |= {"size": 224, "crop_pct": 0.875, "resample": 3, "image_mean": IMAGENET}
    resnet = of(RESNET, processor)
    assert (resnet.model, resnet.num_classes) == ("resnet50", 3)
    assert resnet.class_names is None  # LABEL_0 is not a name
    assert resnet.preprocessing[2:] == (256, 224, "bicubic", "center")
    assert of(RESNET, {**processor, "size": 384}).preprocessing[2:] == (
        384,
        384,
        "bicubic",
        "squash",
    )
    assert of(RESNET, processor, downsample_in_bottleneck=True).options["stride_in_first"]
    processor = {**PROCESSOR, "size": {"shortest_edge": 256}, "do_center_crop": True}
    processor["crop_size"] = {"height": 192, "width": 192}
    mobile = of(MOBILE_NET, processor)
    assert mobile.model == "mobilenet_v1_075" and mobile.class_names == ("background", "tench")
    assert mobile.options == {"padding": "same", "norm_epsilon": 1e-3}
    assert mobile.preprocessing[2:] == (256, 192, "bilinear", "center")
    other = of(MOBILE_NET, depth_multiplier=0.6, tf_padding=False)
    assert other.model == "mobilenet_v1" and other.options["width_multiplier"] == 0.6
    assert other.options["padding"] == "torch"
    assert of(MOBILE_NET, model_type="mobilenet_v2", depth_multiplier=1.4).model == (
        "mobilenet_v2_140"
    )
    raw = of(VIT, {**PROCESSOR, "do_normalize": False}).preprocessing
    assert raw.mean == (0.0,) * 3 and raw.std == (255.0,) * 3


@pytest.mark.parametrize(
    ("config", "values", "processor", "message"),
    [
        (VIT, {"model_type": "swin"}, {}, "model_type 'swin'"),
        (VIT, {"num_channels": 1}, {}, "num_channels = 1"),
        (VIT, {"qkv_bias": False}, {}, "qkv_bias = False; expected True"),
        (VIT, {"hidden_act": "relu"}, {}, "hidden_act = 'relu'"),
        (VIT, {"hidden_size": 100}, {}, "width=100"),
        (VIT, {"patch_size": 14}, {}, "patch=14"),  # DINOv2's networks have more than this
        (VIT, {"architectures": ["ViTForMaskedImageModeling"]}, {}, "architectures"),
        (RESNET, {"embedding_size": 32}, {}, "embedding_size = 32; expected 64"),
        (RESNET, {"depths": [1, 1, 1, 1]}, {}, "depths="),
        (MOBILE_NET, {"min_depth": 4}, {}, "min_depth = 4"),
        (VIT, {}, {"resample": 1}, "preprocessor_config.json of x.*resample = 1"),
        (VIT, {}, {"rescale_factor": 1.0}, "rescale_factor"),
        (VIT, {}, {"do_resize": False}, "do_resize"),
        (VIT, {}, {"size": {"height": 224, "width": 200}}, "a square"),
        (VIT, {}, None, "preprocessor_config.json.* is missing"),
    ],
)
def test_what_transformers_has_and_netzoo_cannot_express_is_refused(
    config, values, processor, message
):
    """The error names the file, the field and its value."""
    given = None if processor is None else {**PROCESSOR, **processor}
    with pytest.raises(UserError, match=message):
        of(config, given, **values)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (lambda: timm(label_names=["a"], num_classes=2), "label_names .*: expected 2 names, got 1"),
        (
            lambda: timm(label_names=["a\nb"], num_classes=1),
            r"'a\\nb' is not printable text in one",
        ),
        (lambda: timm(label_names={"a": 0}, num_classes=1), "expected one text for each class"),
        (lambda: of(VIT, id2label={"0": "a", "2": "b"}), "id2label .*: expected one text for each"),
    ],
)
def test_faulty_names_of_classes_are_left_out_with_a_note(found, message, capsys):
    """The weights are of use without the names, and the reader learns why there are none."""
    note_once.cache_clear()
    assert found().class_names is None
    assert re.match(f"config.json of x: .*{message}", capsys.readouterr().err)


def test_equal_names_of_classes_are_accepted():
    """Transformers' files of ImageNet have two cranes, a bird and a machine."""
    assert of(VIT, id2label={"0": "crane", "1": "crane"}).class_names == ("crane", "crane")


def test_a_config_of_neither_library_is_refused():
    """Other libraries have repositories too."""
    with pytest.raises(UserError, match=r"neither timm's key architecture nor .* model_type"):
        describe({"backbone": "resnet50"}, None, "config.json of x")
