"""`netzoo demo`: mistakes are one message before anything is compiled."""

import sys
import types

import pytest

from netzoo.cli import demo
from netzoo.errors import UserError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected at least one run; pass --workdir DIR"),
        (["--workdir=a", "--config.seed=1"], "takes no --config.KEY"),
        (["--workdir=a", "--port=-1"], "--port -1; expected 0 to 65535"),
        (["--workdir=nowhere"], "nowhere"),
        (["nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_message(arguments, message, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # the command sets it
    monkeypatch.setattr(demo, "_page_module", types.SimpleNamespace)
    with pytest.raises(UserError) as error:
        demo.main(arguments)
    assert message in str(error.value)


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "netzoo.demo.page", raising=False)
    with pytest.raises(UserError, match=r"needs the package gradio: pip install 'netzoo\[demo\]'"):
        demo.main(["--workdir=a"])
