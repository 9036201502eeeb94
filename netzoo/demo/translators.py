"""Runs of translation on the page: translations and attention."""

from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from netzoo.errors import UserError
from netzoo.tasks.translation.figures import attention_figure
from netzoo.tasks.translation.translator import Translator

_MOST_CHARACTERS = 2000


class Translated(NamedTuple):
    """A translation, and the file of a figure of its attention, or None for a long sentence."""

    text: str
    figure: Path | None


class TextRun:
    """A run of translation.

    Attributes:
      title: Name of the network and of the run.
      caption: Source and target language.
    """

    caption = ""

    def __init__(self, workdir: Path, config: ConfigDict, translator: Translator):
        """Compile the search for short sentences."""
        self.title, self._translator = f"{config.model.name} ({workdir.name})", translator
        self._number = 0

    def translate(self, sentence: str, folder: Path) -> Translated:
        """Translate a sentence, and draw its attention into a folder.

        Raises:
          UserError: The sentence is blank or too long.
        """
        if not sentence.strip():
            raise UserError("the sentence is blank; type one")
        if len(sentence) > _MOST_CHARACTERS:
            raise UserError(f"the text has more than {_MOST_CHARACTERS:,} characters; shorten it")
        sentence = " ".join(sentence.split())
        ((best, *_),), _ = self._translator.translate([sentence], "translating")
        if not (examples := self._translator.attention([sentence], [best], 1)):
            return Translated(best.text, None)
        self._number += 1
        path = folder / f"attention_{self._number}.png"
        attention_figure(examples, path, "Where the decoder looked")
        return Translated(best.text, path)
