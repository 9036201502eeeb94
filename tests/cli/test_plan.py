"""The command `netzoo plan`, and the bytes that programs send."""

import csv

import jax
import pytest

from netzoo.cli.plan.collectives import bytes_sent
from netzoo.config import default_config
from netzoo.tasks.classification.single_label import SingleLabelClassification
from tests.conftest import slow
from tests.training.runs import run

# A loop of four iterations, a condition, and XLA's notations of types and groups.
PROGRAM = """
%add (x: f32[], y: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%x, %y)
}

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %g = f32[8]{0} all-gather(%x), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}
  %m = f32[] add(%x, %y), metadata={op_name="jit(all-gather)"}
}

%small (p: f32[8]) -> f32[8] {
  ROOT %c = f32[8]{0} collective-permute(%p), source_target_pairs={{0,1},{1,0}}
}

%large (p: f32[8]) -> f32[8] {
  ROOT %r = bf16[8]{0} reduce-scatter(%p), replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %a = (f32[2,8]{1,0}, s8[16]{0}) all-reduce(%p, %q), replica_groups={}, to_apply=%add
  %b = f32[8]{0} all-reduce(%p), replica_groups=mesh['a'=2,'b'=4] {'b'}, to_apply=%add
  %w = (s32[], f32[8]) while(%t), body=%body, backend_config={"known_trip_count":{"n":"4"}}
  ROOT %i = f32[8] conditional(%k, %p, %p), branch_computations={%small, %large}
}
"""


def test_bytes_that_a_program_sends():
    """Protects the reading of XLA's text: types, groups, loops and branches, by hand.

    The sum of 80 bytes over 8 and of 32 over 4; four gathers of 32 bytes by 4; parts of 16 bytes.
    """
    assert bytes_sent(PROGRAM, 8) == {
        "all-reduce": 2 * 7 / 8 * 80 + 2 * 3 / 4 * 32,
        "all-gather": 4 * 3 / 4 * 32,
        "reduce-scatter": 3 * 16,
    }


def test_classes_need_no_data():
    """Protects `--classes`, which plans without data."""
    config = default_config()
    config.data.source = "folder:nowhere"
    task, batch = SingleLabelClassification.without_data(config, classes=7)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    assert jax.tree.leaves(shapes["params"]["logits"])[0].shape[-1] == 7
    assert batch["image"].shape == (32, 96, 96, 3)


@pytest.fixture
def config_file(tmp_path):
    """The smallest Transformer, whose batches 7 devices cannot divide."""
    path = tmp_path / "config.py"
    path.write_text("from tests.conftest import tiny_translation_config as get_config\n")
    return path


@pytest.mark.slow  # test_sharding.py has the numbers
def test_command_writes_table_and_picture(config_file, tmp_path, monkeypatch):
    """Protects the command as documented: every number of devices, both strategies."""
    out = tmp_path / "plans" / "plan.csv"
    command = ("--devices", 1, 2, "--config", config_file, "--config.sharding.min_size=64")
    done = run("-m", "netzoo", "plan", *command, "--out", out)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(out.open()))
    layouts = [("1", "data parallel"), ("2", "data parallel"), ("2", "fsdp")]
    assert [(row["devices"], row["strategy"]) for row in rows] == layouts
    assert len({row["batch"] for row in rows}) == 1, "each device gets as much"
    assert int(rows[2]["optimizer"]) < 0.6 * int(rows[1]["optimizer"])
    assert done.stdout.count("fsdp") == 1
    assert out.with_suffix(".png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        slow(("--classes=5",), "cannot be planned with --classes"),
        slow(("--config.train.epoch=3",), "epoch"),
        slow(("--fixed_batch",), "7 devices cannot divide evenly"),
    ],
)
def test_mistakes_are_one_message(config_file, flags, message):
    """Protects users from tracebacks, and from waiting for compilations first."""
    done = run("-m", "netzoo", "plan", "--devices", 7, "--config", config_file, *flags)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
