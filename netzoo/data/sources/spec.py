"""Specifications of sources: a kind, a place and options, such as `csv:list.csv?label=species`."""

import re
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import unquote

from netzoo.data.source import SourceError
from netzoo.errors import did_you_mean

_OPTION = "[a-z_]+=[^&]*"
_OPTIONS = re.compile(rf"(?P<place>.*?)\?(?P<options>{_OPTION}(&{_OPTION})*)", re.DOTALL)
_YES_AND_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


class Spec(NamedTuple):
    """The parts of `KIND:PLACE?OPTION=VALUE&OPTION=VALUE`."""

    kind: str
    place: str
    options: dict[str, str]

    def check_options(self, known: Collection[str]) -> None:
        """Raise a SourceError unless the source has all the options."""
        for name in self.options:
            if name not in known:
                valid = ", ".join(known) or "none"
                raise SourceError(
                    f"{self.kind}:{self.place} has the option {name!r}; expected one of: {valid}."
                    f"{did_you_mean(name, known)}"
                )

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the values of an option that are separated by commas; empty if it is not set."""
        text = self.options.get(name, "")
        return tuple(map(unquote, text.split(","))) if text else ()

    def text(self, name: str) -> str | None:
        """Return the value of an option, or None if it is not set."""
        return unquote(self.options[name]) if name in self.options else None

    def switch(self, name: str) -> bool:
        """Return whether an option is on; options are off by default.

        Raises:
          SourceError: The value is neither yes nor no.
        """
        value = self.options.get(name, "no").lower()
        if value not in _YES_AND_NO:
            raise SourceError(
                f"the option {name}={value} of {self.kind}:{self.place}; expected yes or no"
            )
        return _YES_AND_NO[value]


def parse_spec(spec: str) -> Spec:
    """Split a specification into its parts.

    A place may contain a question mark, because options need the form NAME=VALUE. In values, `%26`
    is an ampersand and `%2C` a comma that separates nothing.

    Raises:
      SourceError: An option occurs twice.
    """
    kind, _, rest = spec.partition(":")
    match = _OPTIONS.fullmatch(rest)
    if match is None:
        return Spec(kind, rest, {})
    options: dict[str, str] = {}
    for option in match["options"].split("&"):
        name, _, value = option.partition("=")
        if name in options:
            raise SourceError(f"{spec} sets the option {name} twice; omit one of them")
        options[name] = value
    return Spec(kind, match["place"], options)
