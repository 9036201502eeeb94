"""The record of which bytes weights were read from."""

from pathlib import Path
from typing import Any

from netzoo.files import sha256_of
from netzoo.paths import run_path
from netzoo.weights.catalogue import published_weights
from netzoo.weights.download import download
from netzoo.weights.hub.fetch import SCHEME, repository
from netzoo.weights.hub.find import find_in_hub


def provenance(name_or_path: str | Path) -> dict[str, Any]:
    """Return the exact name of weights, if they have one, and the SHA-256 of their files.

    Weights of the Hugging Face Hub also have the commit and the licence. Runs have no such record;
    the result is empty for them.

    Raises:
      UserError: The weights cannot be downloaded.
    """
    name, path = str(name_or_path), run_path(name_or_path)
    published = None if path.exists() else published_weights(name)
    address = published.address if published else name
    if address.startswith(SCHEME):
        found = repository(address)
        known = published or find_in_hub(name, read=False)
        named = {"name": found.name, "commit": found.commit, "licence": known.licence}
        return {**named, "sha256": dict(found.weights().sha256)}
    if published:
        path = download(published)
        return {"name": published.name, "sha256": {path.name: sha256_of(path)}}
    return {"sha256": {path.name: sha256_of(path)}} if path.is_file() else {}
