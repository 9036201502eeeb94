"""The quick form of the lesson on the Transformer.

It trains nothing: after seconds, neither the loss, nor the heads, nor the translations show what
300 steps show. It measures what holds with random weights.
"""

import numpy as np
import pytest

from netzoo.teaching import Setting, load_lesson
from netzoo.teaching.record import read_numbers
from tests.teaching.conftest import LESSONS, RESULTS

SIZE_64 = 6  # index of the head's size 2**6


@pytest.fixture(scope="module")
def lesson():
    return load_lesson(str(LESSONS / "transformer.py"))


@pytest.fixture(scope="module")
def numbers(lesson):
    return lesson.measure(Setting(quick=True, source=lesson.source))


def test_scaling_keeps_the_softmax_soft(numbers):
    """Scaled products have variance 1 at any size; with heads of 1, nothing is scaled."""
    scaled, unscaled = numbers["gradient/scaled"], numbers["gradient/unscaled"]
    assert scaled[0] == unscaled[0] and scaled[SIZE_64] > 2 * unscaled[SIZE_64]
    assert np.ptp(numbers["keys/scaled"][1:]) < 3 and (np.diff(numbers["keys/unscaled"]) < 0).all()
    for kind in ("encoder", "decoder", "cross"):
        heads = numbers[f"looked at/{kind}/untrained"], numbers[f"looked at/{kind}/unscaled"]
        assert (heads[0] > heads[1]).all(), kind


def test_claims_and_figures(lesson, numbers):
    assert [claim.verdict for claim in lesson.claims(numbers)] == ["shown", "shown"]
    assert set(lesson.draw(numbers)) == {"encoder", "decoder", "cross", "order", "scaling"}


def test_the_page_describes_the_record():
    """Protects the sentences of docs/lessons/transformer.md about single heads and curves."""
    numbers = read_numbers(RESULTS / "transformer")

    def looked_at(kind, block, head, word):
        """Return the texts of the columns with the largest shares in the rows of a word."""
        shares = numbers[f"longest/{kind}"][block - 1, head - 1]
        rows = numbers[f"rows/{kind}"] == word
        return numbers[f"columns/{kind}"][shares[rows].argmax(-1)].tolist()

    assert looked_at("encoder", 1, 4, "hundred") == ["</s>", "</s>"]
    after = numbers["longest/decoder"][
        0, 3, numbers["rows/decoder"].tolist().index("thousand") + 1 :
    ]
    assert (numbers["columns/decoder"][after.argmax(-1)] == "thousand").mean() > 0.5
    for word, digit in (("one", "1"), ("eighty", "8"), ("five", "5")):
        assert [looked_at("cross", 2, head, word) for head in (1, 2, 3, 4)] == [[digit]] * 4
    assert numbers["follows/cross/untrained"][1].max() < 0.3
    assert numbers["follows/cross/trained"][1].min() > 0.7
    words = [list(numbers[f"order/{side}"]) for side in ("rows", "columns")]
    first, second = (i for i, word in enumerate(words[0]) if word == "hundred")
    assert numbers["cosines/without"][[first, second], words[1].index("hundred")].min() > 0.9999
    assert np.ptp(numbers["cosines/with"][[first, second], words[1].index("hundred")]) > 0.05
    assert numbers["keys/scaled"].min() > 20 and numbers["keys/unscaled"][-1] < 1.5
    gains = np.diff(numbers["bleu"])  # by beams of 2, 4, 8 and 16
    assert gains[:, 0].min() > 5 and gains[:, 1].max() < 2 and np.abs(gains[:, 2:]).max() < 0.2
    assert numbers["bleu"][0, 3] < numbers["bleu"][0, 2]
    sharp = [numbers[f"difference/{kind}/unscaled"] for kind in ("encoder", "decoder", "cross")]
    trained = [numbers[f"difference/{kind}/trained"] for kind in ("encoder", "decoder", "cross")]
    assert np.mean(sharp) > np.mean(trained) + 0.4
