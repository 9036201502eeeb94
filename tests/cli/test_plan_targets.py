"""Plans for TPUs and GPUs: targets, counts, rooflines and the search, without the TPU compiler."""

import re
import sys

import jax
import jax.numpy as jnp
import pytest

from netzoo.cli.plan import accelerator, command
from netzoo.cli.plan.accelerator import largest_batch, predicted_rows, proposal, used_bytes
from netzoo.cli.plan.chips import GPUS, TPUS
from netzoo.cli.plan.collectives import bytes_sent, number_of_collectives
from netzoo.cli.plan.count import count_products
from netzoo.cli.plan.roofline import plan
from netzoo.cli.plan.topology import parse_target
from netzoo.cli.plan.worker import PROGRAM, RESULT, refusal
from netzoo.config import default_config
from netzoo.config.overrides import override, read_config, split_overrides
from netzoo.errors import UserError
from netzoo.json_files import check_shape
from netzoo.tasks.classification.single_label import SingleLabelClassification

GIB = 2**30
V5E, EIGHT = parse_target("tpu:v5e:1x1"), parse_target("tpu:v5e:2x4")

# The notation of the TPU compiler, shortened from a step of MobileNetV3 on four v4.
TPU_PROGRAM = """
%all-reduce-scatter.1 (input.1: f32[576,1024]) -> f32[576,256] {
  %all-reduce.231 = f32[576,1024]{1,0:T(8,128)} all-reduce(%input.1), replica_groups={{0,1,2,3}}
  ROOT %slice = f32[576,256]{1,0:T(8,128)S(3)} dynamic-slice(%all-reduce.231, %zero, %i)
}

%started (p: bf16[12,48,192]) -> bf16[12,192,192] {
  %all-gather.36 = bf16[12,192,192]{2,1,0} all-gather(%p), channel_id=27, replica_groups={{0,1,2,3}}
}

%async_collective_fusion.679 (p: bf16[12,48,192]) -> bf16[12,192,192] {
  %all-gather.38 = bf16[12,192,192]{2,1,0} all-gather(%p), channel_id=27, replica_groups={{0,1,2,3}}
}

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %m = (f32[16]{0:T(128)S(3)}, f32[16]{0:T(128)}) all-reduce(%x, %y), replica_groups=mesh['a'=4] {'a'}
}

%condition (p: (s32[], f32[8])) -> pred[] {
  %bound = s32[]{:T(128)} constant(12)
  ROOT %lt = pred[]{:T(512)} compare(%i, %bound), direction=LT
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %s = (f32[8,3]{1,0:T(8,128)S(3)}, f32[8,3]{1,0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%p), source_target_pairs={{0,3},{1,2}}
  %d = f32[8,3]{1,0} collective-permute-done(%s)
  %g = (bf16[36,8]{1,0}, bf16[144,8]{1,0}) all-gather-start(%p), replica_groups={{0,1,2,3}}
  %r = f32[100]{0:T(128)} all-reduce-start(%p), replica_groups={{0,1,2,3}}
  %e = (f32[64,8,128]{2,1,0:T(8,128)}, u32[], token[]) send(%b, %a), channel_id=2, is_host_transfer=true
  %n = (u32[], token[]) send-done(%e), channel_id=2
  %h = bf16[12,192,192]{2,1,0} fusion(%p), kind=kCustom, calls=%started
  %o = bf16[12,192,192]{2,1,0} fusion(%p), kind=kCustom, calls=%async_collective_fusion.679
  %f = f32[576,256]{1,0} fusion(%p), kind=kCustom, calls=%all-reduce-scatter.1
  %w = (s32[], f32[8]) while(%t), condition=%condition, body=%body
}
"""  # noqa: E501


def result(**changes):
    """Return what the worker says of a step on eight chips, 64 images each."""
    program = {
        "refusal": "",
        "wanted": None,
        "arguments": 3 * GIB,
        "output": 3 * GIB,
        "alias": 2 * GIB,
        "temporaries": 4 * GIB,
        "code": GIB // 2,
        "peak": 7 * GIB,
        "bytes": 80e9,
        "sent": {"all-reduce": 10**9},
        "collectives": {"all-reduce": 7},
        "asynchronous": {"all-reduce": 2},
        "seconds": 60.0,
        "jax": "0.10.2",
        "libtpu": "0.0.51",
    }
    return {
        "rows": 512,
        "unit": "images",
        "units": 512,
        "examples": 5120,
        "state": 2 * GIB,
        "parameters": GIB,
        "flops": 1.97e12,
        "products": 5e9,
        "repeated": 1.9e9,
        "program": program,
        **changes,
    }


def refused(wanted):
    return result(
        program={**refusal("RESOURCE_EXHAUSTED", 1.0), "wanted": wanted, "jax": "", "libtpu": ""}
    )


def test_targets_name_chips():
    """Protects the numbers of chips, by which users pay, and the links between them."""
    assert EIGHT.chips == 8 and str(EIGHT) == "tpu:v5e:2x4"
    assert parse_target("tpu:v4:2x2x4:2").chips == 32
    assert parse_target("gpu:h100:8").chips == 8
    assert V5E.sending == 0
    assert EIGHT.sending == 50e9 * (1 + 2)  # one link along the axis of two, two along the other
    assert parse_target("gpu:a100:8").sending == 300e9  # half of the datasheet's sum of directions


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v5e", "expected cpu, tpu:KIND:TOPOLOGY"),
        ("tpu:v5:2x4", "tpu:v4, tpu:v5e, tpu:v5p, tpu:v6e"),
        ("tpu:v5e:3x3", "tpu:v5e:2x2, tpu:v5e:2x4"),
        ("tpu:v4:2x4", "tpu:v4:2x2x1"),
        ("tpu:v5e:2x4:none", "whole number of TPU slices"),
        ("gpu:h100:16", "gpu:h100:8"),
        ("gpu:h100:8:2", "whole number of TPU slices"),
    ],
)
def test_other_targets_are_errors(text, message):
    """Protects users from the compiler's errors: the message lists the valid targets."""
    with pytest.raises(UserError) as error:
        parse_target(text)
    assert message in str(error.value)


def test_limits_of_chips_are_of_their_order():
    """Protects the table from slips of a decimal."""
    for chip in (*TPUS.values(), *GPUS.values()):
        assert 1e14 < chip.flops < 1e15
        assert 16 * GIB <= chip.memory < 128 * GIB
        assert 100 < chip.flops / chip.bandwidth < 600


def test_collectives_in_the_notation_of_the_tpu_compiler():
    """Protects the bytes sent: pairs count once, fused scatters as such, loops in full."""
    assert bytes_sent(TPU_PROGRAM, 4) == {
        "collective-permute": 96,
        "send": 64 * 8 * 128 * 4,
        "all-gather": 3 / 4 * (144 * 8 + 12 * 192 * 192) * 2,
        "reduce-scatter": 3 / 4 * 576 * 1024 * 4,
        "all-reduce": 2 * 3 / 4 * 400 + 12 * 2 * 3 / 4 * 128,
    }
    assert number_of_collectives(TPU_PROGRAM)["all-reduce"] == 1 + 12
    overlapping = number_of_collectives(TPU_PROGRAM, asynchronous=True)
    assert overlapping == {"collective-permute": 1, "all-gather": 2, "all-reduce": 1}


def test_products_are_counted_by_hand():
    """Protects the FLOPs and bytes: loops count every iteration, zeros of dilation do not."""

    def program(image, kernel, matrices):
        x = jax.lax.conv_general_dilated(
            image, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = x.reshape(-1, 16)
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, matrices)[0].sum()

    shapes = ((2, 16, 16, 4), (3, 3, 4, 16)), (6, 16, 16)
    arrays = [jnp.zeros(shape) for shape in (*shapes[0], shapes[1])]
    counted = count_products(jax.make_jaxpr(program)(*arrays).jaxpr)
    convolution, product = 2 * (2 * 8 * 8 * 16) * 36, 2 * 128 * 16 * 16
    assert counted.flops == convolution + 6 * product
    step_bytes = 4 * (2 * 128 * 16 + 16 * 16)
    assert counted.repeated == 5 * step_bytes
    assert counted.bytes == 4 * (2 * 16 * 16 * 4 + 576 + 2 * 8 * 8 * 16) + 6 * step_bytes

    # The gradient of the image is a product with a dilated array, that of the kernel another one.
    gradient = jax.grad(lambda *args: program(*args, arrays[2]), argnums=(0, 1))
    counted = count_products(jax.make_jaxpr(gradient)(*arrays[:2]).jaxpr)
    assert counted.flops == 3 * convolution + 2 * 6 * product


def test_roofline_by_hand():
    """Protects the estimate: the longest of the three times, and what follows for the run."""
    found = plan(result(), EIGHT, "net", epochs=10, examples=None)
    assert (found.compute_seconds, found.memory_seconds) == (0.01, pytest.approx(81.9e9 / 819e9))
    assert found.sending_seconds == pytest.approx(1e9 / 150e9)
    assert (found.bound, found.step_seconds) == ("memory", found.memory_seconds)
    assert found.per_second == pytest.approx(5120)
    assert found.steps == 100
    assert found.hours == pytest.approx(10 / 3600) and found.chip_hours == 8 * found.hours
    assert found.used == 3 * GIB + GIB + 4 * GIB + GIB // 2
    sent = {**result()["program"], "sent": {"all-reduce": 10**9, "send": 10**12}}
    sent["collectives"] = {"all-reduce": 7, "send": 1}
    assert plan(result(program=sent), EIGHT, "net", 10, None).sent == 10**9, "within the slice"
    refusal_of_it = plan(refused(20 * GIB), EIGHT, "net", 10, None)
    assert refusal_of_it.used == 20 * GIB
    assert refusal_of_it.step_seconds is refusal_of_it.hours is None, "it does not run"
    slow = plan(result(flops=197e12), EIGHT, "net", epochs=10, examples=None)
    assert (slow.bound, slow.step_seconds) == ("compute", 1.0)
    assert plan(result(examples=None), EIGHT, "net", 10, None).hours is None
    assert plan(result(examples=None), EIGHT, "net", 10, 10240).steps == 200


def test_gpus_are_counted_without_a_compiler():
    """Protects the cost of GPUs: least traffic, gradients over NVLink, and no claim to fit."""
    found = plan(result(program=None), parse_target("gpu:h100:8"), "net", 10, None)
    assert found.fits is None and found.used is None
    assert found.bytes == 5e9 + 4 * GIB
    assert found.sent == round(2 * 7 / 8 * GIB)
    assert plan(result(program=None), parse_target("gpu:h100:1"), "net", 10, None).sent == 0


def test_refusals_are_read():
    """Protects the proposal: the bytes that the compiler wanted, if it was HBM that ran out."""
    text = (  # of libtpu 0.0.51
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory "
        "required for HLO temporaries (19.51G) exceeds available HBM (15.75G). HLO module: jit_f.\n"
        "See https://openxla.org/xla/errors/error_1000 for more details."
    )
    assert refusal(text, 1.0)["wanted"] == int(19.51 * GIB)
    assert refusal("Used 19.50G of 15.75G hbm. Exceeded", 1.0)["wanted"] == int(19.5 * GIB)
    assert refusal("RESOURCE_EXHAUSTED: scoped vmem exceeded", 1.0)["wanted"] is None
    for program in (refusal(text, 1.0), result()["program"]):
        check_shape({**program, "jax": "", "libtpu": ""}, PROGRAM)
    check_shape(result(), RESULT)


def line_of_memory(most):
    """Return a compiler for which a step of n rows needs 2 GiB and n / 16 GiB."""

    def measured(rows):
        used = 2 * GIB + rows * GIB // 16
        if used > most * GIB:
            return refused(used)
        sizes = {"arguments": used, "output": 0, "alias": 0, "temporaries": 0, "code": 0, "peak": 0}
        return result(program={**result()["program"], **sizes})

    return measured


@pytest.mark.parametrize(("start", "compilations"), [(8, 3), (96, 3), (192, 2), (300, 3)])
def test_search_finds_the_largest_batch_in_few_compilations(start, compilations):
    """Protects users from hours: 15.75 GiB hold 220 rows, so 192 of the sizes that are tried."""
    tried = largest_batch(V5E, start, 1, line_of_memory(15.75))
    fitting = [rows for rows, found in tried.items() if accelerator.fits(found)]
    assert max(fitting) == 192
    assert len(tried) <= compilations


def test_search_ends_when_nothing_fits():
    tried = largest_batch(V5E, 64, 1, lambda rows: refused(None))
    assert [*tried] == [64, 32, 16, 8, 4, 2]


def test_proposal_fits_by_extrapolation():
    """Protects the message of a refusal: a size that fits and that the parts divide."""
    tried = {512: line_of_memory(15.75)(512)}
    assert 216 < predicted_rows(V5E, tried) < 221
    assert proposal(V5E, tried, parts=1) == 192
    assert proposal(V5E, tried, parts=128) == 128
    assert proposal(V5E, {64: refused(None)}, parts=1) == 32
    assert proposal(V5E, {64: refused(200 * GIB)}, parts=1) == 4
    assert used_bytes(refused(None)) is None


@pytest.fixture
def measured(monkeypatch):
    """Replace the child process by a compiler whose chips hold 220 rows."""
    seen = []

    def measure(config, target, classes, rows):
        rows = rows or config.train.batch_size
        seen.append((str(target), rows))
        return {**line_of_memory(15.75)(rows // target.chips), "rows": rows, "units": rows}

    monkeypatch.setattr(command, "measure", measure)
    monkeypatch.setattr(command, "check_libtpu", lambda: None)
    return seen


def test_command_reports_refusals_with_a_batch_that_fits(measured, tmp_path, capsys):
    """Protects the command: table, files, the proposal and the exit status."""
    out = tmp_path / "plans" / "plan.json"
    command_line = ["--config", "quickstart", "--classes=5", "--config.train.batch_size=2048"]
    targets = ["--target", "tpu:v5e:2x4", "tpu:v5e:4x4"]
    assert command.main([*command_line, *targets, "--out", str(out)]) == 1
    shown = capsys.readouterr()
    assert "--config.train.batch_size=1536 should fit, 192 a chip" in shown.err
    assert shown.out.count("tpu:v5e:") == 2
    assert '"fits": false' in out.read_text() and '"fits": true' in out.read_text()
    assert out.with_suffix(".png").stat().st_size > 10_000
    assert measured == [("tpu:v5e:2x4", 2048), ("tpu:v5e:4x4", 2048)]


def test_advice_without_a_smaller_batch_is_valid(capsys):
    """Protects the message of a refusal: it names only settings that a run accepts."""
    config = read_config("quickstart")
    command._propose(config, V5E, {1: refused(40 * GIB)})
    advised = re.findall(r"--config\.\S+", capsys.readouterr().err)
    assert len(advised) == 2
    override(config, split_overrides(advised)[1])
    assert config.train.remat == "blocks"


def test_command_searches_the_largest_batch(measured, tmp_path, capsys):
    command_line = ["--config", "quickstart", "--classes=5", "--target", "tpu:v5e:2x4"]
    assert command.main([*command_line, "--largest-batch", "--out", str(tmp_path / "a.csv")]) == 0
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + len(measured)
    assert ("tpu:v5e:2x4", 8 * 192) in measured


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--target cpu needs --devices"),
        (("--devices=0",), "expected at least 1"),
        (("--classes=0",), "--classes 0; expected at least 1"),
        (("--examples=-5",), "--examples -5; expected at least 1"),
        (("--devices=1", "--largest-batch"), "need a --target"),
        (("--target", "cpu", "gpu:h100:8"), "separate commands"),
        (("--target", "gpu:h100:8", "--devices=1"), "are for --target cpu"),
        (("--target", "gpu:h100:8", "--largest-batch"), "needs a TPU target"),
    ],
)
def test_options_that_do_not_fit_the_target(flags, message):
    with pytest.raises(UserError) as error:
        command.main(["--config", "quickstart", *flags])
    assert message in str(error.value)


def test_wrong_configuration_is_named_before_the_compiler_starts():
    """Protects users from an error about a temporary file, and from advice with wrong values."""
    flags = ["--config", "quickstart", "--classes=5", "--target", "gpu:h100:8"]
    with pytest.raises(ValueError, match=r"^train.remat is 'true'; expected none"):
        command.main([*flags, "--config.train.remat=true"])


def test_missing_compiler_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"netzoo\[tpu-aot\]"):
        command.main(["--config", "quickstart", "--target", "tpu:v5e:1x1"])


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("imagenet_mobilenet_v3", 224),
        ("imagenet_resnet50", 160),
        ("imagenet_resnet50:a2", 224),
        ("imagenet_vit_s16", 224),
        ("flowers_224", 224),
    ],
)
def test_configurations_plan_without_data(name, side):
    """Protects plans of ImageNet, which few have at hand: the images have the size of training."""
    config = read_config(name)
    _, batch = SingleLabelClassification.without_data(config, classes=1000)
    assert batch["image"].shape == (config.train.batch_size, side, side, 3)


def test_growing_images_plan_the_largest():
    config = default_config()
    config.train.image_sizes = ((0, 64), (3, 160), (9, 128))
    _, batch = SingleLabelClassification.without_data(config, classes=2)
    assert batch["image"].shape[1] == 160
    config.train.image_sizes = ((3, 64),)
    _, batch = SingleLabelClassification.without_data(config, classes=2)
    assert batch["image"].shape[1] == config.data.image_size


def test_failure_of_the_compiler_is_a_message(monkeypatch, tmp_path):
    """Protects users from a traceback when libtpu ends the process, as it does for some errors."""
    compiler = tmp_path / "python"
    compiler.write_text("#!/bin/sh\necho check failed: shape.rank >&2\nexit 3\n")
    compiler.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(compiler))
    with pytest.raises(UserError, match=r"tpu:v5e:1x1 failed with status 3:\ncheck failed: shape"):
        accelerator.measure(default_config(), V5E, 5, None)


@pytest.mark.slow  # starts a process
def test_plans_of_gpus_come_from_a_worker():
    """Protects the whole path with a child process: the job, the counts and its errors."""
    config = default_config()
    config.model.name = "mobilenet_v1"
    config.model.width_multiplier = 0.25
    config.data.image_size = 32
    config.train.batch_size = 12
    found = accelerator.measure(config, parse_target("gpu:a100:4"), 5, None)
    assert (found["rows"], found["units"], found["program"]) == (12, 12, None)
    # Multiply-adds of the forward pass at 32 px, thrice, for three images: about 13 MFLOP.
    assert 5e6 < found["flops"] < 20e6
