"""A translator that needs no network."""

import numpy as np

from netzoo.tasks.translation.translator import Hypothesis


class Backwards:
    """Writes a sentence backwards; sentences over 40 characters have no attention."""

    def translate(self, sentences, description):
        return [[Hypothesis(text[::-1], 0.0, (1, 2))] for text in sentences], 0.0

    def attention(self, sentences, hypotheses, most):
        if len(sentences[0]) > 40:
            return []
        words = sentences[0].split()
        return [(words, words[::-1], np.eye(len(words))[::-1])]
