"""The subword vocabulary: byte-pair encoding, learned by SentencePiece.

Sennrich et al. 2016, https://arxiv.org/abs/1508.07909; one vocabulary for both languages, as in
Vaswani et al. 2017, section 5.1.
"""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2

from netzoo.errors import UserError
from netzoo.files import read_bytes, write_bytes
from netzoo.paths import run_path

PAD, START, END, UNKNOWN = 0, 1, 2, 3


class Vocabulary:
    """Encodes text as piece numbers and decodes it.

    A run of white space becomes one space, and white space at the ends is removed. Otherwise
    `decode` reverses `encode`, if the vocabulary has all characters of the text. A run of other
    characters becomes one UNKNOWN, shown as `⁇`.
    """

    def __init__(self, model: bytes):
        """Read a serialised SentencePiece model.

        Raises:
          UserError: The model is damaged, or its special tokens have other numbers.
        """
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
            # A file that was truncated between two fields also parses, so check the last field.
            # mypy cannot see ModelProto, which is created at import.
            proto = sentencepiece_model_pb2.ModelProto.FromString(model)  # type: ignore[attr-defined]
            if not proto.HasField("normalizer_spec"):
                raise RuntimeError("a part is missing")
            # Every piece and the unknown symbol must be text.
            self.pieces(range(len(self)))
            self.decode(range(len(self)))
        except (RuntimeError, UnicodeDecodeError, DecodeError) as error:
            raise UserError(f"this is not a complete SentencePiece model: {error}") from error
        p, expected = self._processor, (PAD, START, END, UNKNOWN)
        special = (p.pad_id(), p.bos_id(), p.eos_id(), p.unk_id())
        if special != expected:
            raise UserError(
                "this SentencePiece model numbers padding, start, end and unknown as "
                f"{special} (-1: it has none); expected {expected}, as Vocabulary.learn does"
            )

    @classmethod
    def learn(cls, texts: Iterable[str], size: int) -> "Vocabulary":
        """Learn `size` pieces from sentences of both languages, deterministically.

        `size` includes the four special pieces. Every character of the texts is a piece, and digits
        are never merged.

        Raises:
          UserError: The texts yield fewer pieces, or have more characters.
        """
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=(_tidy(text) for text in texts),
                model_writer=model,
                model_type="bpe",
                vocab_size=size,
                character_coverage=1.0,
                normalization_rule_name="identity",
                split_digits=True,
                max_sentence_length=2**20,  # bytes; longer sentences are skipped silently
                pad_id=PAD,
                bos_id=START,
                eos_id=END,
                unk_id=UNKNOWN,
                unk_surface="⁇",
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as error:
            # SentencePiece's message has a position in its source code and then the possible sizes.
            reason = str(error).rpartition("] ")[2] or "every sentence is empty"
            raise UserError(
                f"Cannot learn a vocabulary of {size:,} pieces; change data.vocabulary_size or the "
                f"text. SentencePiece says: {reason}"
            ) from error
        return cls(model.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Read a file written by `save`.

        Raises:
          UserError: The file does not exist or is damaged.
        """
        try:
            return cls(read_bytes(run_path(path)))
        except (OSError, UserError) as error:
            raise UserError(
                f"cannot read the vocabulary {path}: {str(error).rstrip('.')}; replace the file"
            ) from error

    def save(self, path: str | Path) -> None:
        """Write the vocabulary as a SentencePiece model file."""
        write_bytes(path, self._model)

    def __len__(self) -> int:
        return self._processor.get_piece_size()

    def encode(self, text: str) -> list[int]:
        """Return the piece numbers of a text, without START and END."""
        return self._processor.encode(_tidy(text))

    def encode_all(self, texts: Iterable[str]) -> list[list[int]]:
        """Encode many texts, faster than `encode` of each."""
        return self._processor.encode([_tidy(text) for text in texts])

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of piece numbers, without PAD, START and END."""
        return self._processor.decode([int(i) for i in ids])

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return raw pieces, including special ones; `▁` marks a preceding space."""
        return [self._processor.id_to_piece(int(i)) for i in ids]


def _tidy(text: str) -> str:
    return " ".join(text.split())
