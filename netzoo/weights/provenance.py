"""The record of which bytes weights were read from."""

from pathlib import Path
from typing import Any

from netzoo.files import sha256_of
from netzoo.weights.catalogue import CATALOGUE
from netzoo.weights.download import download
from netzoo.weights.formats.read import weight_files
from netzoo.weights.hub.fetch import repository
from netzoo.weights.hub.find import is_hub_name
from netzoo.weights.origin import find_weights


def provenance(name_or_path: str | Path) -> dict[str, Any]:
    """Return the exact name of weights, if they have one, their licence, and SHA-256s by file.

    An unknown licence is None. Weights of the Hugging Face Hub also have the commit. Runs have no
    such record; the result is empty for them.

    Raises:
      UserError: The weights cannot be downloaded or read.
    """
    weights = find_weights(name_or_path, read=False)
    published = CATALOGUE.get(weights.known_from)
    address = published.address if published else str(name_or_path)
    if is_hub_name(address):
        found = repository(address)
        named = {"name": found.name, "commit": found.commit, "licence": weights.licence}
        return {**named, "sha256": dict(found.weights().sha256)}
    path = download(published) if published else weights.path
    if not path.is_file():
        return {}
    named = {"name": published.name} if published else {}
    sha256 = {file.name: sha256_of(file) for file in weight_files(path)}
    return {**named, "licence": weights.licence, "sha256": sha256}
