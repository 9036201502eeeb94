"""`load_weights`: names of projects, heads, image sizes and errors."""

import json

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from safetensors.numpy import save_file

import netzoo
from netzoo.errors import UserError
from netzoo.models.positions import resize_position_embedding
from netzoo.models.vit import Variant
from netzoo.weights import save_safetensors, to_torch
from tests.conftest import slow
from tests.weights.drawn import assert_identical, draw, shapes_of
from tests.weights.pth_files import write_state_dict

MODEL = "mobilenet_v1_025"  # quickly traced, with statistics and a head drawn at random
CLASSES = 7


@pytest.fixture(scope="module")
def variables():
    """Return the variables of a small MobileNetV1 with seven classes."""
    return draw(shapes_of(MODEL, CLASSES)[1])


def without(variables, *modules):
    """Return the variables without some modules."""
    return {
        collection: {name: value for name, value in tree.items() if name not in modules}
        for collection, tree in variables.items()
    }


@pytest.mark.parametrize("project", ["timm", "keras", None])
def test_names_are_recognised(tmp_path, variables, project):
    """The names of each project, and netzoo's own, give the same variables."""
    save_safetensors(tmp_path / "a.safetensors", variables, MODEL, project)
    found = netzoo.load_weights(tmp_path / "a.safetensors", MODEL, CLASSES)
    assert_identical(found, variables)


def test_pth(tmp_path, variables):
    """A PyTorch file is read, and its counts are ignored."""
    tensors = to_torch(variables, MODEL, "timm") | {"bn1.num_batches_tracked": np.array(9)}
    write_state_dict(tmp_path / "a.pth", tensors, under=("state_dict",))
    assert_identical(netzoo.load_weights(str(tmp_path / "a.pth"), MODEL, CLASSES), variables)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "backbone.", "net.", "module._orig_mod.model."]
)
def test_prefixes_of_wrappers(tmp_path, variables, prefix):
    """Prefixes of DataParallel, `torch.compile` and Lightning are removed."""
    tensors = {f"{prefix}{name}": x for name, x in to_torch(variables, MODEL, "timm").items()}
    tensors["n_averaged"] = np.array(5)
    write_state_dict(tmp_path / "a.ckpt", tensors, under=("state_dict",))
    assert_identical(netzoo.load_weights(tmp_path / "a.ckpt", MODEL, CLASSES), variables)


def test_a_folder_of_the_hub(tmp_path, variables):
    """A folder gives its weights, in one file or several, and its preprocessing."""
    tensors = to_torch(variables, MODEL, "timm")
    images = {"mean": [0.1, 0.2, 0.4], "std": [0.5, 0.5, 0.2], "input_size": [3, 160, 160]}
    images |= {"crop_pct": 0.8, "interpolation": "bilinear"}
    config = {"architecture": "mobilenetv1_025", "pretrained_cfg": images}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(tensors, tmp_path / "model.safetensors")
    loaded = netzoo.load(tmp_path, MODEL)
    assert_identical(loaded.variables, variables)
    np.testing.assert_allclose(loaded.preprocessing.mean, [25.5, 51, 102])
    assert loaded.preprocessing[2:] == (200, 160, "bilinear", "center")
    (tmp_path / "model.safetensors").unlink()
    half = len(tensors) // 2
    parts = {"a.bin": dict([*tensors.items()][:half]), "b.bin": dict([*tensors.items()][half:])}
    for name, part in parts.items():
        write_state_dict(tmp_path / name, part)
    weight_map = {tensor: name for name, part in parts.items() for tensor in part}
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    for path in (tmp_path, index):
        assert_identical(netzoo.load_weights(path, MODEL, CLASSES), variables)


def test_own_files_say_of_which_network_they_are(tmp_path, variables):
    """Files of netzoo need no `model`; files of other projects need it."""
    save_safetensors(tmp_path / "a.safetensors", variables, MODEL)
    assert_identical(
        netzoo.load_weights(tmp_path / "a.safetensors", num_classes=CLASSES), variables
    )
    save_safetensors(tmp_path / "b.safetensors", variables, MODEL, "timm")
    with pytest.raises(UserError, match="model=NAME"):
        netzoo.load_weights(tmp_path / "b.safetensors")


def test_network_and_file_need_an_image_size(tmp_path, variables):
    """Protects callers who pass a network, which has no registered image size."""
    save_safetensors(tmp_path / "a.safetensors", variables, MODEL)
    network = netzoo.create_model(MODEL, CLASSES)
    with pytest.raises(UserError, match="image_size"):
        netzoo.load_weights(tmp_path / "a.safetensors", network)
    found = netzoo.load_weights(tmp_path / "a.safetensors", network, image_size=32)
    assert_identical(found, variables)


@pytest.mark.parametrize("average", [False, True])
def test_run(tmp_path, variables, average):
    """A run gives its newest checkpoint, with averaged weights if it has them."""
    state = {
        "params": jax.tree.map(np.zeros_like, variables["params"])
        if average
        else variables["params"],
        "model_state": {"batch_stats": variables["batch_stats"]},
        "ema": variables if average else {},
    }
    with ocp.StandardCheckpointer() as writer:
        writer.save(tmp_path / "checkpoints" / "3" / "state", state)
    assert_identical(netzoo.load_weights(tmp_path, MODEL, CLASSES), variables)


def test_head_for_other_classes(tmp_path, variables, capsys):
    """Only the head is new; it is reproducible, and a line reports it."""
    save_safetensors(tmp_path / "a.safetensors", variables, MODEL, "timm")
    found = netzoo.load_weights(tmp_path / "a.safetensors", MODEL, 5)
    said = capsys.readouterr().err
    assert said.endswith("head re-initialised: the file has 7 classes, requested 5\n")
    assert_identical(without(found, "logits"), without(variables, "logits"))
    kernel = found["params"]["logits"]["kernel"]
    assert kernel.shape == (256, 5) and kernel.dtype == np.float32
    # The network's own initialiser: normal(0.01) and zeros.
    assert 0.009 < kernel.std() < 0.011 and not found["params"]["logits"]["bias"].any()
    again = netzoo.load_weights(tmp_path / "a.safetensors", MODEL, 5)
    assert_identical(again, found)
    other = netzoo.load_weights(tmp_path / "a.safetensors", MODEL, 5, seed=1)
    assert np.any(other["params"]["logits"]["kernel"] != kernel)


def test_the_same_number_of_classes_keeps_the_head(tmp_path, variables, capsys):
    """A matching head is neither re-initialised nor reported."""
    save_safetensors(tmp_path / "a.safetensors", variables, MODEL)
    netzoo.load_weights(tmp_path / "a.safetensors", MODEL, CLASSES)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("project", ["timm", "keras", None])
def test_without_head(tmp_path, variables, project):
    """`num_classes=0` leaves the file's head out."""
    save_safetensors(tmp_path / "a.safetensors", variables, MODEL, project)
    found = netzoo.load_weights(tmp_path / "a.safetensors", MODEL, 0)
    assert_identical(found, without(variables, "logits"))


def test_file_without_head(tmp_path, variables, capsys):
    """A file of features without a head loads with a new head."""
    save_safetensors(tmp_path / "a.safetensors", without(variables, "logits"), MODEL)
    found = netzoo.load_weights(tmp_path / "a.safetensors", num_classes=3)
    assert found["params"]["logits"]["bias"].shape == (3,)
    assert capsys.readouterr().err.startswith("logits initialised: not in ")


def test_auxiliary_classifiers(tmp_path):
    """They are part of GoogLeNet's head; `num_classes=0` and `auxiliary=False` omit them."""
    variables = draw(shapes_of("googlenet_tv", CLASSES)[1])
    save_safetensors(tmp_path / "a.safetensors", variables, "googlenet_tv", "torchvision")
    path, heads = tmp_path / "a.safetensors", ("aux1", "aux2")
    found = netzoo.load_weights(path, "googlenet_tv", CLASSES, auxiliary=False)
    assert_identical(found, without(variables, *heads))
    found = netzoo.load_weights(path, "googlenet_tv", 0)
    assert_identical(found, without(variables, "logits", *heads))


@pytest.mark.parametrize("project", ["torchvision", "timm", "google"])
def test_position_embedding_of_another_grid(tmp_path, project):
    """A ViT for 224 pixels, loaded for 64: 4x4 patches, and an unchanged class token."""
    options = {"variant": Variant(width=12, depth=2, mlp_dim=24, heads=3, patch=16)}
    variables = draw(shapes_of("vit_ti16", CLASSES, **options)[1])
    path = tmp_path / "a.safetensors"
    save_safetensors(path, variables, "vit_ti16", project, **options)
    found = netzoo.load_weights(path, "vit_ti16", CLASSES, image_size=64, **options)
    old = variables["params"]["position_embedding"]
    new = found["params"]["position_embedding"]
    assert new.shape == (1, 1 + 4 * 4, 12)
    np.testing.assert_array_equal(new[:, 0], old[:, 0])
    np.testing.assert_array_equal(new, resize_position_embedding(old, (4, 4), True))
    name = "position_embedding"
    assert_identical(without(found, name), without(variables, name))


def test_another_network(tmp_path, variables):
    """The error names some missing and unknown tensors, and counts the others."""
    save_safetensors(tmp_path / "a.safetensors", variables, MODEL, "timm")
    with pytest.raises(UserError) as error:
        netzoo.load_weights(tmp_path / "a.safetensors", "resnet18")
    text = str(error.value)
    assert "a.safetensors for resnet18 does not fit the network" in text
    assert "missing: layer1.0.bn1.running_mean" in text and "and 90 more" in text
    assert "unknown: blocks.0.0." in text


def test_unknown_names_are_escaped(tmp_path, variables):
    """A name from the internet reaches the terminal as text, not as control sequences."""
    tensors = to_torch(variables, MODEL, "timm") | {"w\x1b[31m": np.ones(1, np.float32)}
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"unknown: w\\x1b\[31m"):
        netzoo.load_weights(tmp_path / "a.safetensors", MODEL, CLASSES)


def test_another_width(tmp_path, variables):
    """The error lists misshapen tensors with both shapes."""
    save_safetensors(tmp_path / "a.safetensors", variables, MODEL, "timm")
    shapes = r"blocks\.0\.0\.bn1\.running_mean \(8,\), expected \(32,\) for stage1_block1"
    with pytest.raises(UserError, match=rf"of another shape: .*{shapes}.* more") as error:
        netzoo.load_weights(tmp_path / "a.safetensors", "mobilenet_v1", CLASSES)
    assert "the file fits mobilenet_v1_025" in str(error.value)


def test_shapes_are_those_of_the_files_axes(tmp_path, variables):
    """Shapes are those that the owner of the file sees, not transposed."""
    tensors = to_torch(variables, MODEL, "timm")
    tensors["blocks.0.0.conv_pw.weight"] = np.ones((16, 8, 3, 3), np.float32)
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"\(16, 8, 3, 3\), expected \(16, 8, 1, 1\) for stage1"):
        netzoo.load_weights(tmp_path / "a.safetensors", MODEL, CLASSES)


def test_a_file_without_any_known_name(tmp_path):
    """The error compares with one project, and says that this project was assumed."""
    save_file({"convolution": np.ones(3, np.float32)}, tmp_path / "a.safetensors")
    with pytest.raises(
        UserError, match="timm, transformers, keras; the lists above compare with the names in timm"
    ):
        netzoo.load_weights(tmp_path / "a.safetensors", MODEL)


SMALL_VIT = {"variant": Variant(width=12, depth=2, mlp_dim=24, heads=3, patch=16)}


def test_joint_tensors_are_listed_once(tmp_path):
    """Query, key and value share a tensor, listed once; the missing head is listed too."""
    tensors = to_torch(
        draw(shapes_of("vit_ti16", CLASSES, **SMALL_VIT)[1]), "vit_ti16", "timm", **SMALL_VIT
    )
    kept = {name: x for name, x in tensors.items() if "qkv" not in name and "head" not in name}
    save_file(kept, tmp_path / "a.safetensors")
    with pytest.raises(UserError) as error:
        netzoo.load_weights(tmp_path / "a.safetensors", "vit_ti16", CLASSES, **SMALL_VIT)
    (missing,) = [line for line in str(error.value).splitlines() if "missing" in line]
    assert missing.count("blocks.0.attn.qkv.weight") == 1
    assert "head.weight" in missing and "head.bias" in missing


def test_a_joint_tensor_is_compared_as_it_lies_in_the_file(tmp_path):
    """The shapes are those of query, key and value together, not of one of them transposed."""
    tensors = to_torch(
        draw(shapes_of("vit_ti16", CLASSES, **SMALL_VIT)[1]), "vit_ti16", "timm", **SMALL_VIT
    )
    tensors["blocks.0.attn.qkv.weight"] = np.ones((36, 13), np.float32)
    save_file(tensors, tmp_path / "a.safetensors")
    found = r"of another shape: blocks\.0\.attn\.qkv\.weight \(36, 13\), expected \(36, 12\) for"
    with pytest.raises(UserError, match=found):
        netzoo.load_weights(tmp_path / "a.safetensors", "vit_ti16", CLASSES, **SMALL_VIT)


@pytest.mark.parametrize(
    ("extra", "tokens", "reason"),
    [
        ({"reg_token": (1, 4, 12)}, 201, "has register tokens"),
        slow({"dist_token": (1, 1, 12), "head_dist.weight": (7, 12)}, 198, "a distillation token"),
        slow({"fc_norm.weight": (12,), "fc_norm.bias": (12,)}, 196, "norm_after_pool=True"),
        slow({"norm_pre.weight": (12,)}, 197, r"norm before the blocks \(pre_norm=True\)"),
        ({}, 196, "no class token.*pool='gap'"),
    ],
)
def test_other_vision_transformers_of_timm(tmp_path, extra, tokens, reason):
    """The error names registers, distillation and averaging instead of a non-square grid."""
    tensors = to_torch(
        draw(shapes_of("vit_ti16", CLASSES, **SMALL_VIT)[1]), "vit_ti16", "timm", **SMALL_VIT
    )
    tensors |= {name: np.ones(shape, np.float32) for name, shape in extra.items()}
    tensors["pos_embed"] = np.ones((1, tokens, 12), np.float32)
    if tokens == 196:
        del tensors["cls_token"]
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=reason):
        netzoo.load_weights(tmp_path / "a.safetensors", "vit_ti16", CLASSES, **SMALL_VIT)


def test_a_network_of_the_family_that_fits_is_named(tmp_path):
    """The error for GoogLeNet without BatchNorm, loaded as the one with it, names the right one."""
    tensors = to_torch(draw(shapes_of("googlenet", CLASSES)[1]), "googlenet", "torchvision")
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"the file fits googlenet$"):
        netzoo.load_weights(tmp_path / "a.safetensors", "googlenet_bn", CLASSES)


def test_misshapen_head(tmp_path, variables):
    """A head with the requested number of classes is never re-initialised."""
    tensors = to_torch(variables, MODEL, "timm")
    tensors["classifier.weight"] = np.ones((CLASSES, 99), np.float32)
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"logits .* 7"):
        netzoo.load_weights(tmp_path / "a.safetensors", MODEL, CLASSES)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet50.tv1k", r"Did you mean .*resnet50\.tv_in1k"),
        ("no/such/file.pth", r"no/such/file\.pth.*list_weights"),
    ],
)
def test_unknown_name(name, message):
    """The error suggests the closest published weights."""
    with pytest.raises(UserError, match=message):
        netzoo.load_weights(name, "resnet50")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": -1}, "num_classes is -1; expected an integer of at least 0"),
        ({"image_size": "224"}, "image_size is '224'; expected an integer"),
        ({"image_size": 0}, "image_size is 0, but .* is a network on images"),
        ({"classes": "daisy"}, r"expected a list of names, such as \['daisy'\]"),
        ({"classes": ["daisy"], "num_classes": 1}, "give either num_classes or classes"),
    ],
)
def test_arguments_that_no_network_has(arguments, message, tmp_path):
    """Protects from tracebacks of JAX: an argument is refused by its name."""
    save_file({"a": np.zeros(1, np.float32)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=message):
        netzoo.load(tmp_path / "a.safetensors", MODEL, **arguments)


def test_folder_with_weights_but_no_config(tmp_path):
    """The error names the file that is there and the one that is missing."""
    save_file({"a": np.zeros(1, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"holds model\.safetensors, but no config\.json with"):
        netzoo.load(tmp_path)


def test_folder_without_run(tmp_path):
    """The error says what a run or a folder of weights contains, and names a run near by."""
    with pytest.raises(UserError, match=r"neither a run.*config\.json and checkpoints/, nor"):
        netzoo.load_weights(tmp_path, MODEL)
    (tmp_path / "v2").mkdir()
    (tmp_path / "v2" / "config.json").touch()
    with pytest.raises(UserError, match=rf"Did you mean {tmp_path}/v2\?"):
        netzoo.load_weights(tmp_path, MODEL)
