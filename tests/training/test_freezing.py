"""Parameters that are trained only after some epochs."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.config import default_config
from netzoo.mesh import create_mesh
from netzoo.training.optimizer import create_optimizer
from netzoo.training.schedule import create_schedule
from netzoo.training.step import build_train_program
from tests.training.toy import ToyTask

HEAD_FIRST = (("logits/.*", 0.0), (".*", 1.0))  # an epoch of the toy task has five steps
HEAD_ONLY = (("logits/.*", 1.0), (".*", 0.0))


def start(**options):
    """Return the first state and the compiled step of a run, and its batches."""
    config = default_config()
    config.optimizer.weight_decay = 0.01
    config.train.update(ema_decay=0.9, clip_norm=0.5)
    config.update_from_flattened_dict(options)
    program = build_train_program(config, ToyTask(), create_mesh())
    rng = np.random.default_rng(0)
    batches = [
        {
            "x": jnp.asarray(rng.normal(size=(8, 6)), jnp.float32),
            "label": jnp.asarray(rng.integers(0, 2, 8), jnp.int32),
        }
        for _ in range(8)
    ]
    return config, program, batches


def states(program, batches):
    """Return the states before and after every step."""
    found = [program.init(None)]
    for batch in batches:
        copy = jax.tree.map(jnp.copy, found[-1])  # the step donates its argument
        found.append(program.step(copy, batch)[0])
    return found


@pytest.mark.parametrize("options", [{}, {"optimizer.sam_rho": 0.1, "train.grad_accum_steps": 2}])
def test_the_head_first_and_then_everything(options):
    """Protects LP-FT: the first phase is a run of the head alone, and then the body moves too.

    The norm for clipping, too, is that of the head alone.
    """
    config, program, batches = start(**{"optimizer.unfreeze": HEAD_FIRST}, **options)
    found = states(program, batches)
    alone = states(start(**{"optimizer.lr_mults": HEAD_ONLY}, **options)[1], batches[:5])
    for one, other in zip(found[:6], alone, strict=True):
        chex.assert_trees_all_equal(one.params["dense"], found[0].params["dense"])
        chex.assert_trees_all_close(one.params, other.params, rtol=1e-5, atol=1e-7)
        chex.assert_trees_all_close(one.ema, other.ema, rtol=1e-5, atol=1e-7)
    moved = np.abs(found[6].params["dense"]["kernel"] - found[5].params["dense"]["kernel"])
    # The first step of Adam's fresh state is the learning rate of the run's sixth update.
    rate = float(create_schedule(config, 5)(5))
    assert rate < 0.99 * config.optimizer.learning_rate
    assert np.median(moved) == pytest.approx(rate, rel=0.02)
    assert not np.array_equal(found[7].params["norm"]["scale"], found[6].params["norm"]["scale"])


def test_the_tables_say_it():
    """Protects users from a pattern that unfreezes something else."""
    tables = start(**{"optimizer.unfreeze": HEAD_FIRST})[1].tables
    assert "unfreeze at epoch:\n  'logits/.*' -> 0.0: 2 tensors, 34 parameters" in tables
    assert "unfreeze" not in start()[1].tables


def test_the_frozen_part_has_no_backward_pass():
    """Protects the time of the first phase: its branch has fewer products."""
    _, program, batches = start(**{"optimizer.unfreeze": HEAD_FIRST})
    jaxpr = program.step.trace(program.state, batches[0]).jaxpr
    switches = [e for e in jaxpr.eqns if e.primitive.name == "cond"]
    # The largest one computes the gradients; another one is around the late optimizer.
    branches = max((e.params["branches"] for e in switches), key=lambda b: len(str(b)))
    head, everything = (str(branch).count("dot_general") for branch in branches)
    # Products of two layers, and their gradients: of the kernel, and of the input of the second.
    assert (head, everything) == (3, 5)


def test_a_continued_run_unfreezes_at_the_same_update():
    """Protects continuation: the phase is in the state, and skipped steps do not count."""
    options = {"optimizer.unfreeze": HEAD_FIRST, "train.on_nonfinite": "skip"}
    _, program, batches = start(**options)
    bad = {**batches[0], "x": batches[0]["x"].at[0, 0].set(jnp.nan)}
    found = states(program, [bad, *batches[:7]])
    saved = jax.tree.map(np.asarray, found[4])
    again = start(**options)[1]
    state = jax.device_put(saved)
    for batch in batches[3:7]:
        state, _ = again.step(state, batch)
    chex.assert_trees_all_equal(state, found[-1])
    dense = [state.params["dense"]["kernel"] for state in found]
    assert np.array_equal(dense[6], dense[0]) and not np.array_equal(dense[7], dense[6])


def test_every_group_has_its_own_decay_and_factors():
    """Protects weight decay and learning-rate factors by path of parameters that start later."""
    config = default_config()
    config.optimizer.update(name="sgd", momentum=0.0, weight_decay=0.5)
    config.optimizer.weight_decay_mults = (("b", 0.0), (".*", 1.0))
    config.optimizer.lr_mults = (("c", 0.1), ("d", 0.0), (".*", 1.0))
    config.optimizer.unfreeze = (("a", 0.0), (".*", 1.0))
    params = dict.fromkeys("abcd", jnp.array([2.0]))
    optimizer = create_optimizer(config, lambda step: 1.0 + step, params, steps_per_epoch=1)
    state = optimizer.init(params)
    zero = jnp.zeros(1)
    updates, state = optimizer.update(
        {"a": zero + 1, "b": zero, "c": zero, "d": zero}, state, params
    )
    assert {n: float(u[0]) for n, u in updates.items()} == {"a": -2, "b": 0, "c": 0, "d": 0}
    ones = dict.fromkeys("abcd", jnp.ones(1))
    updates, state = optimizer.update(ones, state, params)
    expected = {"a": -4, "b": -2, "c": -0.4, "d": 0}
    assert {n: float(u[0]) for n, u in updates.items()} == pytest.approx(expected)
