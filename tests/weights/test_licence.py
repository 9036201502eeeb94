"""What licences allow, in the spelling of the catalogue and of the Hugging Face Hub."""

import pytest

from netzoo.errors import note_once
from netzoo.weights.licence import is_free, warn_unless_free


@pytest.mark.parametrize(
    ("licence", "free", "said"),
    [
        ("Apache-2.0", True, ""),
        ("bsd-3-clause", True, ""),
        ("encore-1.0", True, ""),  # "nc" inside a word
        ("CC-BY-NC-4.0", False, "warning: x: the licence CC-BY-NC-4.0 does not allow commercial"),
        ("cc-by-nc-4.0", False, "warning: x: the licence cc-by-nc-4.0 does not allow commercial"),
        ("a-noncommercial-one", False, "does not allow commercial use"),
        ("not stated", False, "x: the licence is unknown"),
        (None, False, "x: the licence is unknown"),
    ],
)
def test_licences(licence, free, said, capsys):
    """One rule chooses default weights and warns, whoever published the weights."""
    note_once.cache_clear()
    warn_unless_free("x", licence)
    printed = capsys.readouterr().err
    assert is_free(licence) is free and said in printed and bool(printed) is not free
