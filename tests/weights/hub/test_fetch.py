"""Downloads from a mock hub on the loopback; each of its faults gives one message.

huggingface_hub reads HF_ENDPOINT when it is imported, so that other processes talk to the mock.
"""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save

from tests.weights.hub.mock_hub import Hub, Repo, commit_of, serving

pytestmark = pytest.mark.slow
pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")

WEIGHTS = save({"a": np.ones((2, 3), np.float32)})
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
INDEX = json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}).encode()
CONFIG = {"config.json": b'{"architecture": "resnet18"}'}
FILES = {
    **CONFIG,
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"not read",
}
OTHER = {**FILES, "model.safetensors": save({"a": np.zeros((2, 3), np.float32)})}
REPOSITORIES = {
    "org/whole": Repo(FILES, branches={"v2": OTHER}),
    "org/pickled": Repo({**CONFIG, "pytorch_model.bin": b"a pickle"}),
    "org/sharded": Repo(
        {
            **CONFIG,
            "model.safetensors.index.json": INDEX,
            "one.safetensors": WEIGHTS,
            "two.safetensors": save({"b": np.ones(4, np.float32)}),
        }
    ),
    "org/outside": Repo(
        {**CONFIG, "model.safetensors.index.json": b'{"weight_map": {"a": "../../x"}}'}
    ),
    "org/cut": Repo(FILES, "cut"),
    "org/private": Repo(FILES, "private"),
    "org/gated": Repo(FILES, "gated"),
    "org/bare": Repo({"model.safetensors": WEIGHTS}),
    "org/empty": Repo(CONFIG),
    "org/damaged": Repo({**FILES, "config.json": b"{"}),
}
# Prints a line of JSON for each name: the repository with its weights, or the error.
CHILD = """
import json, sys, time
from netzoo.errors import UserError
from netzoo.weights.hub.fetch import repository

time.sleep = lambda seconds: None  # the library waits before it resumes a download
for name in sys.argv[1:]:
    shapes = []
    def check(found):
        shapes.append(found)
        if name.startswith("org/cut"):
            raise UserError("refused")
    try:
        found = repository(name)
        path, sha256 = found.weights(check)
        answer = {"name": found.name, "commit": found.commit, "config": found.config}
        answer |= {"path": str(path), "sha256": sha256}
    except UserError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer | {"shapes": shapes}))
"""


def fetch(hub: Hub, home, *names: str, **variables: str) -> list[dict]:
    """Return the answers of `CHILD` for some names."""
    environment = {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *names],
        env={**os.environ, **environment, "HF_HUB_DISABLE_TELEMETRY": "1", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    """Fetch several names twice, then without a network."""
    home = tmp_path_factory.mktemp("home")
    names = ["org/whole", "hf:org/whole@v2", *list(REPOSITORIES)[1:], "org/whole@v3", "org/missing"]
    with serving(REPOSITORIES) as hub:
        first = dict(zip(names, fetch(hub, home, *names), strict=True))
        requests = list(hub.requests)
        hub.requests.clear()
        again = fetch(hub, home, "org/whole", "org/cut", "org/missing", HF_HUB_OFFLINE="1")
        assert not hub.requests, "the offline mode sent requests"
    return first, again, requests, home


def test_the_cache_holds_the_files_of_a_commit(fetched):
    """A name with a revision gives that commit's files, and the commit gives the same again."""
    answers, again, _, _ = fetched
    whole, v2 = answers["org/whole"], answers["hf:org/whole@v2"]
    assert whole["commit"] == commit_of(FILES) and v2["commit"] == commit_of(OTHER)
    assert whole["name"] == f"hf:org/whole@{commit_of(FILES)}"
    assert whole["sha256"] == {"model.safetensors": SHA256} != v2["sha256"]
    assert whole["config"] == {"architecture": "resnet18"}
    assert again[0] == {**whole, "shapes": []}


def test_safetensors_are_preferred_and_checked_before_the_download(fetched):
    """A pickle is the last choice; a refusal by `check` costs a request for part of the file."""
    answers, _, requests, _ = fetched
    assert answers["org/whole"]["shapes"] == [{"a": [2, 3]}]
    assert answers["org/sharded"]["shapes"] == [{"a": [2, 3], "b": [4]}]
    assert [*answers["org/sharded"]["sha256"]] == ["one.safetensors", "two.safetensors"]
    assert answers["org/pickled"]["path"].endswith("pytorch_model.bin")
    assert not any("pytorch_model.bin" in request for request in requests if "whole" in request)
    assert answers["org/cut"]["error"] == "refused"
    gets = [r for r in requests if r.startswith("GET /org/cut") and "safetensors" in r]
    assert gets and all("bytes=0-" in request for request in gets)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("org/missing", ["has no such repository", "HF_TOKEN"]),
        ("org/private", ["asks for a log-in", "hf auth login"]),
        ("org/gated", ["is gated: accept its terms"]),
        ("org/whole@v3", ["has no revision 'v3'", "/commits"]),
        ("org/bare", ["has no config.json", "model=NAME"]),
        ("org/empty", ["neither model.safetensors nor pytorch_model.bin"]),
        ("org/outside", ["which is not beside it"]),
        ("org/damaged", ["config.json of hf:org/damaged", "it is not JSON"]),
    ],
)
def test_a_fault_gives_one_message(fetched, name, parts):
    """Each message names the repository and says what to do."""
    error = fetched[0][name]["error"]
    assert all(part in error for part in (*parts, f"hf:{name.partition('@')[0]}")), error
    assert "\n" not in error


def test_without_a_network_the_cache_serves(fetched):
    """The offline mode names the file that is not in the cache."""
    for answer in fetched[1][1:]:
        assert "is not in the cache" in answer["error"] and "HF_HUB_OFFLINE" in answer["error"]


def test_a_cut_download_and_a_flipped_bit_are_errors(fetched):
    """huggingface_hub itself accepts a damaged file of its cache."""
    home = fetched[3]
    blob = next(home.glob(f"hub/models--org--whole/blobs/{SHA256}"))
    original = blob.read_bytes()
    blob.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
    try:
        with serving(REPOSITORIES) as hub:
            hub.repositories["org/part"] = Repo(OTHER, "cut")
            damaged, cut = fetch(hub, home, "org/whole", "org/part")
    finally:
        blob.write_bytes(original)
    assert f"expected the checksum {SHA256}" in damaged["error"]
    assert f"Remove {blob}" in damaged["error"]
    assert "cannot download model.safetensors of hf:org/part" in cut["error"]
    assert not list(home.glob("hub/models--org--part/snapshots/*/model.safetensors"))
