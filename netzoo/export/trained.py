"""Networks with their trained variables, from a run or from weights, for files of weights."""

from pathlib import Path

from ml_collections import ConfigDict

from netzoo.errors import UserError
from netzoo.export.card import run_facts, weights_facts
from netzoo.export.classifier import refuse_multi_label
from netzoo.export.hub import Trained
from netzoo.paths import run_path
from netzoo.tasks import run_config
from netzoo.tasks.task import create_network
from netzoo.weights import load
from netzoo.weights.class_names import load_class_names
from netzoo.weights.origin import find_weights
from netzoo.weights.published import Preprocessing
from netzoo.workdir.checkpoint import restore_variables


def of_run(workdir: str | Path, which: str, config: ConfigDict) -> Trained:
    """Return the network of a run; for `which`, see `restore_variables`.

    Raises:
      UserError: The folder is not a run of image classification with one class per image, or
        cannot be read.
    """
    workdir = run_path(workdir)
    resolved = run_config(workdir, config)
    names = load_class_names(workdir)
    refuse_multi_label(resolved.data.multi_label)
    _, _, variables = restore_variables(workdir, which)
    network, images = create_network(resolved, len(names)), Preprocessing.of_run(resolved)
    facts = run_facts(workdir, resolved)
    return Trained(resolved.model.name, network, variables, images, names, facts)


def of_weights(name_or_path: str, model: str | None) -> Trained:
    """Return the network of published weights or of a file.

    Raises:
      UserError: See `netzoo.load`; or the preprocessing is unknown.
    """
    network, variables, images, names = load(name_or_path, model)
    if images is None:
        raise UserError(f"the normalisation of images for {name_or_path} is unknown")
    weights = find_weights(name_or_path, read=False)
    name = model or str(weights.model)
    names = names or tuple(f"class {i}" for i in range(network.num_classes))
    return Trained(name, network, variables, images, names, weights_facts(weights))
