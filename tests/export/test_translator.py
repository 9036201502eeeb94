"""The Transformer as two programs: an encoder and one decoding step."""

import json
import subprocess
import sys

import numpy as np
import pytest

from netzoo.cli import export as command
from netzoo.errors import UserError
from netzoo.export import translator
from netzoo.export.formats import FORMATS, read_program
from netzoo.export.translator import translator_programs
from netzoo.tasks.translation.vocabulary import END, START, Vocabulary
from tests.conftest import fast_only, tiny_translation_config
from tests.export.page import PAGE
from tests.models.small_transformer import SOURCE, TARGET, draw, small
from tests.pages.blocks import blocks_of

LENGTH = 6


def padded(tokens):
    return np.pad(tokens, ((0, 0), (0, LENGTH - tokens.shape[1])))


@pytest.mark.parametrize("file_format", fast_only(["stablehlo", "onnx"], ["onnx"]))
def test_both_programs_give_the_logits_of_the_network(file_format, tmp_path):
    """The logits agree for one and several sentences, whatever follows a position in the target."""
    model, source, target = small(), padded(SOURCE), padded(TARGET)
    variables, known = draw(model), FORMATS[file_format]
    expected = np.asarray(model.apply(variables, source, target, train=False))
    runs = {}
    for name, program in translator_programs(model, variables, "small", LENGTH).items():
        path = tmp_path / f"{name}{known.suffix}"
        with open(path, "wb") as file:
            known.load().write(file, program)
        loaded = read_program(path)
        assert (loaded.metadata["start"], loaded.metadata["end"]) == (START, END)
        runs[name] = loaded.run
    for rows in (slice(0, 1), slice(None)):
        [memory] = runs["encoder"](source[rows])
        [logits] = runs["decoder"](source[rows], memory, target[rows])
        np.testing.assert_allclose(logits, expected[rows], rtol=0, atol=2e-5)
    later = target.copy()
    later[:, 4:] = 5
    [logits] = runs["decoder"](source, memory, later)
    np.testing.assert_allclose(logits[:, :4], expected[:, :4], rtol=0, atol=2e-5)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A trained run of the smallest Transformer."""
    from netzoo.training import train

    config = tiny_translation_config()
    config.train.epochs = 1
    workdir = tmp_path_factory.mktemp("translation") / "run"
    train(config, workdir)
    return workdir


@pytest.mark.slow
def test_a_run_becomes_a_folder_that_the_page_translates_with(workdir, tmp_path, capfd):
    """The lines of docs/export.md need neither netzoo nor JAX, and search as the network would."""
    out = tmp_path / "folder"
    command.main(["--workdir", str(workdir), "--format", "onnx", "--out", str(out)])
    assert "sentences of number_words" in capfd.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == [
        *("decoder.onnx", "encoder.onnx", "vocabulary.model")
    ]
    sentence = "twenty one"
    [code] = [block.code for block in blocks_of(PAGE) if "vocabulary.decode" in block.code]
    code = f"import sys\nsentence = {sentence!r}\n{code}\n"
    code += "print([*map(int, target[0])])\nassert not {'netzoo', 'jax'} & {*sys.modules}\n"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=out, capture_output=True, env={})
    assert done.returncode == 0, done.stderr.decode()
    vocabulary = Vocabulary.load(out / "vocabulary.model")
    [pieces] = vocabulary.encode_all([sentence])
    found = json.loads(done.stdout.splitlines()[-1])
    encoder, decoder = (read_program(out / f"{n}.onnx").run for n in ("encoder", "decoder"))
    source = np.zeros((1, len(found)), np.int32)
    source[0, : len(pieces) + 1] = [*pieces, END]
    [memory] = encoder(source)
    [logits] = decoder(source, memory, np.array([found], np.int32))
    count = found.index(END) if END in found else len(found) - 1
    assert logits[0, :count].argmax(-1).tolist() == found[1 : count + 1]
    with pytest.raises(UserError, match="folder exists"):
        command.main(["--workdir", str(workdir), "--format", "onnx", "--out", str(out)])


@pytest.mark.slow
def test_a_folder_that_differs_is_not_written(workdir, tmp_path, monkeypatch):
    """The error names the sentences."""

    def wrong(*args):
        programs = translator_programs(*args)
        decode = programs["decoder"].function
        changed = programs["decoder"]._replace(function=lambda *x: (1.01 * decode(*x)[0],))
        return {**programs, "decoder": changed}

    monkeypatch.setattr(translator, "translator_programs", wrong)
    with pytest.raises(UserError, match=r"was not written.*sentences of number_words"):
        command.main(
            ["--workdir", str(workdir), "--format", "onnx", "--out", str(tmp_path / "folder")]
        )
    assert not [*tmp_path.iterdir()]
