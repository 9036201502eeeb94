"""The effects of configuration keys, as cheap functions of a configuration.

`tests/test_every_key.py` compares their results for two values of a key.
"""

import contextlib
import itertools
import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AbstractMesh

from netzoo.config import save_config
from netzoo.data import images
from netzoo.data.sources import tfds as tfds_source
from netzoo.errors import UserError
from netzoo.mesh import create_mesh
from netzoo.tasks import create_task
from netzoo.tasks.translation import batches as translation
from netzoo.tasks.translation.translator import Hypothesis, Translator
from netzoo.training import evaluate_run, loop, prepare, sharding, train
from netzoo.training.batch_stats import STATISTICS, make_estimate
from netzoo.training.continuation import check_data
from netzoo.training.optimizer import create_optimizer
from netzoo.training.schedule import create_schedule
from netzoo.training.step import build_train_program
from tests.training.cheap_run import cheap_steps, sums

KEY = jax.random.key(0)


class Called(Exception):
    """Something expensive would begin here."""


def plain(tree):
    """Return a tree of arrays as nested values that `==` compares."""
    return [(x.shape, str(x.dtype), np.asarray(x).tobytes()) for x in jax.tree.leaves(tree)]


# Data


def batches(config):
    """The training batches of about an epoch."""
    return plain([*itertools.islice(create_task(config).train_iterator(), 6)])


def labels(config):
    """The order of the examples, without their pixels."""
    return plain([b["label"] for b in itertools.islice(create_task(config).train_iterator(), 6)])


def distorted(config):
    """The set of images of an epoch: their order does not matter."""
    task = create_task(config)
    epoch = itertools.islice(task.train_iterator(), task.steps_per_epoch)
    return sorted(image.tobytes() for batch in epoch for image in batch["image"])


def evaluated(config):
    """The batches of the evaluations in training."""
    found = prepare.evaluation_batches(config, create_task(config))
    return {name: plain([*split]) for name, split in found.items()}


def readable(config):
    """The number of images that can be evaluated, or why evaluation stops."""
    try:
        found = create_task(config).evaluation_batches(config.data.train_split)
        return sum(int(batch["mask"].sum()) for batch in found)
    except UserError as error:
        return str(error)


def cached(config):
    """What memory holds of the source."""
    return getattr(create_task(config)._source(config.data.train_split), "mode", None)


def threads(config):
    """The threads that prepare training and evaluation."""
    task = create_task(config)
    module = {"translation": translation, "image_classification": images}[config.task]
    with mock.patch.object(module, "in_threads", return_value=[]) as start:
        task.train_iterator()
        iter(task.evaluation_batches(config.data.validation_split))
    return [call.args[1] for call in start.call_args_list]


def prepared_in(config):
    """The folder of a TFDS data set."""
    with (
        mock.patch.object(tfds_source, "open_builder", side_effect=Called) as asked,
        contextlib.suppress(Called),
    ):
        create_task(config)
    return asked.call_args.args


# Step


def task_type(config):
    return type(create_task(config)).__name__


def imported(config):
    """Whether the module `module_of_keys` is imported."""
    sys.modules.pop("module_of_keys", None)
    create_task(config)
    return "module_of_keys" in sys.modules


def pretrained(config):
    """The initial weights, unless they are random."""
    return plain(create_task(config).pretrained_variables())


def start(config):
    """Random parameters, and the key of mixing and dropout."""
    state = build_train_program(config, create_task(config), create_mesh()).init(None)
    return {"params": plain(state.params), "key": plain(state.key)}


def parameters(config):
    return start(config)["params"]


def noise(config):
    return start(config)["key"]


def traced(function, *arguments):
    """The operations of a compiled function, and the arrays that it contains."""
    program = function.trace(*arguments).jaxpr
    return str(program), plain(program.consts)


def loss(config):
    """The program of the loss."""
    task = create_task(config)
    batch = next(task.train_iterator())
    return traced(jax.jit(task.loss), jax.eval_shape(task.init, KEY), batch, KEY)


def scores(config):
    """The program of the evaluation."""
    task = create_task(config)
    batch = next(iter(task.evaluation_batches(config.data.validation_split)))
    return traced(jax.jit(task.evaluation_sums), jax.eval_shape(task.init, KEY), batch)


def step(config):
    """The program of the training step."""
    task = create_task(config)
    program = build_train_program(config, task, create_mesh())
    return traced(program.step, program.state, next(task.train_iterator()), task.constants)


def estimation(config):
    """The number of training batches that estimate the statistics of the average."""
    state = SimpleNamespace(ema={STATISTICS: {}}, key=None, replace=lambda **_: None)
    with mock.patch.object(jax, "jit") as compiled:
        estimate = make_estimate(config, create_task(config), create_mesh())
        if estimate:
            estimate(state, lambda batch: batch)
    return compiled.return_value.call_count


PARAMS = {"a": {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([0.5])}}
GRADS = {"a": {"kernel": jnp.array([[0.3, 4.0]]), "bias": jnp.array([-2.0])}}


def update(config):
    """Three updates of two parameters, after which every decay and momentum counts."""
    optimizer = create_optimizer(config, create_schedule(config, 5), PARAMS)
    state, params = optimizer.init(PARAMS), PARAMS
    for size in (1.0, -0.5, 2.0):
        grads = jax.tree.map(lambda g, size=size: size * g, GRADS)
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return plain(params)


def rates(config):
    """The learning rates of a run with five steps per epoch."""
    schedule = create_schedule(config, 5)
    return [float(schedule(number)) for number in range(20)]


def shards(config):
    """The shardings of parameters over two devices."""
    shapes = jax.eval_shape(create_task(config).init, KEY)["params"]
    placed = sharding.parameter_shardings(config, shapes, AbstractMesh((1, 2), ("data", "fsdp")))
    return [str(place.spec) for place in jax.tree.leaves(placed)]


def tables(config):
    """What the run prints about its parameters."""
    return build_train_program(config, create_task(config), create_mesh()).tables


# Loop and files


def run(config):
    """The log, checkpoints, trace and messages of a run whose steps compute nothing."""
    with (
        tempfile.TemporaryDirectory() as folder,
        cheap_steps(),
        mock.patch.object(jax.profiler, "start_trace") as trace,
        mock.patch.object(jax.profiler, "stop_trace"),
    ):
        assert train(config, folder) == 0
        log = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").open()]
        saved = sorted(path.name for path in (Path(folder) / "checkpoints").iterdir())
        steps = [(line["kind"], line["step"]) for line in log if line["kind"] != "run"]
        events = len([*(Path(folder) / "tensorboard").iterdir()])
        counts = {"traces": trace.call_count, "events": events}
        return {"log": steps, "checkpoints": saved, **counts}


def evaluation_precision(config):
    """The precision of the products in the evaluations of a run, and in those of `netzoo eval`."""
    with mock.patch.object(loop, "make_eval_step") as in_training:
        run(config)
    with (
        mock.patch.object(evaluate_run, "restore_variables", return_value=(1, "params", {})),
        mock.patch.object(evaluate_run, "check_variables"),
        mock.patch.object(evaluate_run, "make_eval_step", side_effect=Called) as at_the_end,
        contextlib.suppress(Called),
    ):
        evaluate_run._evaluate(create_task(config), Path(), "last", config.data.test_split, ())
    return in_training.call_args.args[2] + at_the_end.call_args.args[2]


def changed_data(config):
    """Why a run whose data have changed does not continue."""
    with tempfile.TemporaryDirectory() as folder:
        save_config(config, Path(folder))
        try:
            return check_data(config, Path(folder), {}, {"data.train.examples": (40, 41)})
        except UserError:
            return "refused"


def tested(config):
    """The split that `netzoo eval` reads."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(evaluate_run, "_evaluate", side_effect=Called) as asked,
    ):
        create_task(config).save(Path(folder))
        save_config(config, Path(folder))
        with contextlib.suppress(Called):
            evaluate_run.evaluate_run(folder)
    return asked.call_args.args[3]


def reported(config):
    """The final report of 11 guesses."""
    logits, truth = np.eye(3, dtype=np.float32)[np.arange(11) % 3], np.arange(11) % 3
    rows = {"logits": logits, "label": truth, "mask": np.ones(11, bool)}
    report, _ = create_task(config).report({}, config.data.test_split, sums(11, 11), rows)
    return {name: value for name, value in report.items() if name != "calibration"}


def metrics(config):
    """The names of the metrics of a report."""
    return [*create_task(config).metrics(sums(3, 2), {})]


# Translation


def searched(config):
    """Shapes of batches, and options of the beam search, of two sentences."""
    task = create_task(config)
    translator = Translator(config, task.model, {}, task.vocabulary)
    found = translator.batches(["7", "12"] * 99)
    with mock.patch.object(translator, "_search") as search:
        translator._compile(found[0][1].shape)
    options = search.lower.call_args.kwargs["options"]
    return [tokens.shape for _, tokens in found], options


def signature(config):
    """How the scores of translations are computed."""
    task = create_task(config)
    answers = [[Hypothesis("seven", 0.0, (5,))]] * len(task._pairs(config.data.test_split))
    with mock.patch.object(Translator, "translate", return_value=(answers, 1.0)):
        report, _ = task.report({}, config.data.test_split, {}, {})
    return report["bleu_signature"]
