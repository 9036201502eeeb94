"""The comparison of compiled training steps, with a compiler that answers at once."""

from argparse import Namespace

import jax
import pytest

from benchmarks import compiled, plans, report
from benchmarks.compiled import COMPILED, FAILED, KEY, LAYERS, MODELS, REFUSED, measure, programs
from benchmarks.contestants import ROOT
from netzoo.models import model_entry

RESULTS = ROOT / "results"
OPTIONS = Namespace(
    model=["mobilenet_v2", "transformer_tiny"],
    layers=["netzoo", "flax"],
    target=["tpu:v5e:1x1"],
    batch_size=8,
    dtype="bfloat16",
    remat=False,
)
SIZES = ("peak_bytes", "argument_bytes", "output_bytes", "alias_bytes")


class Compiler:
    """Refuses batches above a number, and remembers what it compiled."""

    def __init__(self, most, refusal=REFUSED):
        self.most, self.refusal, self.asked = most, refusal, []

    def __call__(self, settings):
        batch = settings["batch_per_chip"]
        self.asked.append((settings["model"], settings["layers"], batch))
        if batch > self.most:
            return {"result": self.refusal, "compile_seconds": 1.0, "reason": "too large"}
        more = 1 + (settings["layers"] == "flax")
        sizes = dict.fromkeys(("temporary_bytes", "bytes_accessed", "flops", *SIZES), 10**9 * more)
        return {"result": COMPILED, "compile_seconds": 2.0, **sizes}


@pytest.fixture(autouse=True)
def version(monkeypatch):
    """Need no TPU compiler."""
    monkeypatch.setattr(compiled.importlib.metadata, "version", lambda name: "1")


def test_a_refused_batch_is_halved_for_both(tmp_path):
    """Protects the comparison, which needs both layers at the batch that fits."""
    compiler = Compiler(most=4)
    measure(report.Lines(tmp_path, "compiled.csv", KEY), programs(OPTIONS), compiler)
    networks = [("mobilenet_v2", layers) for layers in ("netzoo", "flax")]
    expected = [(*network, batch) for batch in (8, 4) for network in networks]
    text = [("transformer_tiny", "netzoo", batch) for batch in (8, 4)]
    assert compiler.asked == expected + text


def test_the_same_command_compiles_what_is_missing(tmp_path):
    """Protects hours of compilation from an interruption."""
    interrupted, compiler = Compiler(most=4), Compiler(most=4)

    def stop_at_the_third(settings):
        if len(interrupted.asked) == 2:
            raise KeyboardInterrupt
        return interrupted(settings)

    with pytest.raises(KeyboardInterrupt):
        measure(report.Lines(tmp_path, "x.csv", KEY), programs(OPTIONS), stop_at_the_third)
    measure(report.Lines(tmp_path, "x.csv", KEY), programs(OPTIONS), compiler)
    assert len(interrupted.asked + compiler.asked) == len({*interrupted.asked, *compiler.asked})
    again = Compiler(most=4)
    measure(report.Lines(tmp_path, "x.csv", KEY), programs(OPTIONS), again)
    assert not again.asked


def test_another_failure_ends_the_search(tmp_path):
    """Protects from compiling the same failure again for smaller batches."""
    compiler = Compiler(most=0, refusal=FAILED)
    measure(report.Lines(tmp_path, "x.csv", KEY), programs(OPTIONS), compiler)
    assert {batch for _, _, batch in compiler.asked} == {8}


def test_the_table(tmp_path, capsys):
    """Protects the ratios: netzoo's programs have half of the bytes of flax's here."""
    measure(report.Lines(tmp_path, "compiled.csv", KEY), programs(OPTIONS), Compiler(most=4))
    capsys.readouterr()
    compiled.main(["--table", "--out", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    network, sizes = "| mobilenet_v2 | tpu:v5e:1x1 |", "1.00 | 1.00 | 1.0 | 1 | 2 |"
    assert f"{network} 8 | refused |  |  |  |  |  |  |  | refused |" in lines
    assert f"{network} 4 | {sizes} 0.500 | 0.500 | 0.500 |  |" in lines
    assert f"| transformer_tiny | tpu:v5e:1x1 | 4 | {sizes}  |  |  |  |" in lines


TABLES = {
    "performance.md": lambda: compiled.main(["--table", "--out", str(RESULTS / "compiled")]),
    "scaling.md": lambda: plans.main(["--table", "--out", str(RESULTS / "plans")]),
}


@pytest.mark.parametrize("page", TABLES)
def test_the_page_shows_the_results(page, capsys):
    """Protects the tables of the pages, which the commands print."""
    TABLES[page]()
    assert capsys.readouterr().out in (RESULTS.parent / "docs" / page).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("model", [x for x in MODELS if model_entry(x).image_size])
def test_native_programs_cost_no_more_than_flax(model):
    """Protects accelerators: before compilation, XLA counts the operations and bytes of programs.

    Compilers fuse operations later, which changes the bytes of both. `vit_b16` has the largest
    ratio of operations, 1.007, because attention weights are computed twice. CPU implementations
    would have 1.5 times the bytes.
    """
    costs = []
    for layers in LAYERS:
        settings = dict(zip(KEY, (model, layers, "", 8, "bfloat16", False), strict=True))
        costs.append(compiled.lower_step(settings, jax.devices()[:1]).cost_analysis())
    ours, theirs = costs
    assert ours["flops"] < 1.01 * theirs["flops"]
    assert ours["bytes accessed"] < 1.01 * theirs["bytes accessed"]


@pytest.mark.slow
@pytest.mark.parametrize("layers", LAYERS)
def test_steps_compile(layers):
    """Protects the programs, for whose trace the tool has no test otherwise."""
    settings = dict(zip(KEY, ("mobilenet_v1_025", layers, "", 2, "bfloat16", False), strict=True))
    line = compiled.compile_step(settings, jax.devices()[:1])
    assert line["result"] == COMPILED
    # The whole state, except for pointers to its arrays, is written over the old one.
    assert 0 <= line["output_bytes"] - line["alias_bytes"] < 10_000
    assert line["flops"] > 1e8
