"""Registry: every network has a published size, and wrong names are answered with right ones."""

import jax
import pytest

import netzoo
from netzoo.errors import UserError
from netzoo.models.registry import create_model, list_models, register

# Parameters with 1000 and with 5 classes, and BatchNorm's running statistics. The counts follow
# from the layer tables of the papers and equal those that torchvision publishes.
SIZES = {
    "mobilenet_v2": (3_504_872, 2_230_277, 34_112),
}


def count(model) -> tuple[int, int]:
    """Returns the numbers of parameters and of running statistics, without making any."""
    variables = jax.eval_shape(
        lambda key: model.init(key, jax.numpy.zeros((1, 64, 64, 3)), train=False),
        jax.random.key(0),
    )
    collections = ("params", "batch_stats")
    return tuple(sum(x.size for x in jax.tree.leaves(variables.get(c, {}))) for c in collections)


def test_every_network_has_a_published_size():
    """A network cannot be added without the count that it is checked against."""
    assert set(list_models()) == set(SIZES), "add the new network's counts to SIZES"


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name):
    """The network is the published one, to the last parameter, and the classes are counted."""
    thousand, five, statistics = SIZES[name]
    assert count(create_model(name)) == (thousand, statistics)
    assert count(create_model(name, num_classes=5)) == (five, statistics)


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
    """A misspelt network is answered with what was meant."""
    with pytest.raises(UserError, match=r"'mobilnet_v2'.*did you mean .*mobilenet_v2"):
        create_model("mobilnet_v2")


def test_hopeless_name_lists_what_there_is():
    """Where nothing is near, the error lists the valid names."""
    with pytest.raises(UserError, match=r"valid: .*mobilenet_v2"):
        create_model("zzzz")


@pytest.mark.parametrize(
    ("option", "nearest"), [("width", "width_multiplier"), ("dropout", "dropout_rate")]
)
def test_unknown_option_names_the_nearest(option, nearest):
    """A misspelt option must not be dropped silently, and says what was meant."""
    with pytest.raises(UserError, match=rf"option of mobilenet_v2 '{option}'.*{nearest}"):
        create_model("mobilenet_v2", **{option: 0.5})


@pytest.mark.parametrize("option", ["parent", "name"])
def test_lineage_is_no_option(option):
    """Flax's own fields are not for configurations."""
    with pytest.raises((UserError, TypeError)):
        create_model("mobilenet_v2", **{option: "x"})


def test_no_name_twice():
    """Two families cannot claim one name."""
    with pytest.raises(ValueError, match="registered twice"):
        register("mobilenet_v2", lambda num_classes: None)
