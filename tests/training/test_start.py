"""What a run computes before its first step, and a prediction before its first picture."""

import gc

import jax
import pytest

from netzoo.config import default_config
from netzoo.mesh import create_mesh
from netzoo.models.summary import variable_shapes
from netzoo.training import loop, train
from netzoo.training.step import build_train_program
from tests.conftest import tiny_config
from tests.training import cheap_run
from tests.training.cheap_run import cheap_steps
from tests.training.runs import start
from tests.training.toy import ToyTask


class CountingTask(ToyTask):
    """Counts how often its network is initialised, by a trace or by a computation."""

    initialised = 0

    def init(self, key):
        self.initialised += 1
        return super().init(key)


def program_of(seed, task):
    config = default_config()
    config.seed = seed
    return build_train_program(config, task, create_mesh())


def test_the_network_is_traced_once_for_its_variables():
    """Protects the start: tracing a network with 50 layers takes half a second each time."""
    task = CountingTask()
    program_of(0, task).init(None)
    assert task.initialised == 1


def test_all_seeds_share_the_program_of_the_initial_state():
    """Protects sweeps over seeds, whose runs would each compile it for seconds."""
    programs = [program_of(seed, ToyTask()).init for seed in (0, 2**32 - 1)]
    first, second = (p.func.lower(*p.args, None).as_text() for p in programs)
    assert first == second


def test_the_shapes_of_variables_need_no_computation():
    """Protects the start of a prediction, which would compile programs for a key."""
    with jax.transfer_guard("disallow"):
        variable_shapes(ToyTask()._net, 8)


def test_garbage_is_collected_from_the_first_step_on(pictures, tmp_path, monkeypatch):
    """Protects the start from the collector, and the memory of the steps from a forgotten pause."""
    collected, count = [], cheap_run.count

    def step(state, batch):
        collected.append(gc.isenabled())
        return count(state, batch)

    monkeypatch.setattr(cheap_run, "count", step)
    with cheap_steps():
        train(tiny_config(pictures), tmp_path)
    assert collected == [False] + [True] * (len(collected) - 1)
    assert gc.isenabled()


def test_a_continued_run_computes_no_initial_state(pictures, tmp_path):
    """Protects the start of a continued run: its checkpoint replaces every initial value."""
    config = tiny_config(pictures)
    with cheap_steps():
        train(config, tmp_path)
        config.train.epochs += 1
        build = loop.build_train_program
        build.return_value = build.return_value._replace(init=None)
        assert train(config, tmp_path) == 0


@pytest.mark.slow
def test_the_second_start_compiles_nothing(pictures, tmp_path, monkeypatch):
    """Protects the second start: a program that differs between processes would compile again."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "programs"))
    # By default, JAX keeps only programs that take a second to compile.
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    kept = []
    for name in ("first", "second"):
        done = start(pictures, tmp_path / name, step=1, name="SIGTERM")
        assert done.returncode == 128 + 15, done.stderr
        kept.append({path.name for path in (tmp_path / "programs").glob("*-cache")})
    assert kept[0] and kept[1] == kept[0]
