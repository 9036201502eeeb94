"""What the page shows of a translation run."""

import pytest

pytest.importorskip("sentencepiece", reason="needs the extra translate")

from PIL import Image

from netzoo.demo.translators import TextRun
from netzoo.errors import UserError
from tests.conftest import tiny_translation_config
from tests.demo.translator import Backwards


@pytest.fixture
def run(tmp_path):
    return TextRun(tmp_path, tiny_translation_config(), Backwards())


def test_a_sentence_gets_its_translation_and_a_figure(run, tmp_path):
    first, second = run.translate(" one\n two ", tmp_path), run.translate("two", tmp_path)
    assert (first.text, second.text) == ("owt eno", "owt")
    assert first.figure != second.figure
    assert Image.open(first.figure).format == "PNG"


def test_a_long_sentence_has_no_figure(run, tmp_path):
    assert run.translate(21 * "a ", tmp_path).figure is None


@pytest.mark.parametrize(("text", "message"), [(" \n", "blank"), (2001 * "a", "2,000 characters")])
def test_bad_sentences_are_one_message(text, message, run, tmp_path):
    with pytest.raises(UserError, match=message):
        run.translate(text, tmp_path)
