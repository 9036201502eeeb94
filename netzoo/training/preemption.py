"""Notices of Google Compute Engine that a machine is about to end, from its metadata server.

https://cloud.google.com/compute/docs/instances/create-use-spot describes `preempted`,
https://cloud.google.com/compute/docs/gpus/gpu-host-maintenance describes `maintenance-event`, and
https://cloud.google.com/compute/docs/metadata/querying-metadata how to wait for changes.
"""

import http.client
import os
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

# Names another metadata server, for all libraries of Google Cloud.
HOST_VARIABLE = "GCE_METADATA_HOST"
# The value of each key that announces the end, and what it means.
NOTICES = {
    "preempted": ("TRUE", "Compute Engine preempts this machine"),
    "maintenance-event": (
        "TERMINATE_ON_HOST_MAINTENANCE",
        "Compute Engine will end this machine for host maintenance",
    ),
}
_PRODUCT = Path("/sys/class/dmi/id/product_name")
# A metadata server answers at once; it holds a request for changes for up to WAIT_SECONDS.
ANSWER_SECONDS, WAIT_SECONDS, RETRY_SECONDS = 3, 60, 10


def watch(notify: Callable[[str], None], closed: threading.Event) -> None:
    """Call `notify` with a sentence when this machine gets a notice, in another thread.

    Notices from before the call do not count, because a run that continues after a notice may use
    the machine to its end. On other machines than those of Compute Engine, this function does
    nothing. The threads end when `closed` is set, or up to `WAIT_SECONDS` later.
    """
    if on_compute_engine():
        for key in NOTICES:
            threading.Thread(target=_watch, args=(key, notify, closed), daemon=True).start()


def on_compute_engine() -> bool:
    """Return whether this machine has a metadata server, without using the network."""
    if os.environ.get(HOST_VARIABLE):
        return True
    try:
        return _PRODUCT.read_text().startswith("Google")
    except OSError:
        return False


def _watch(key: str, notify: Callable[[str], None], closed: threading.Event) -> None:
    try:
        before, etag = _ask(key, ANSWER_SECONDS)
    except (OSError, http.client.HTTPException):
        return
    ending, meaning = NOTICES[key]
    while not closed.is_set():
        query = f"?wait_for_change=true&timeout_sec={WAIT_SECONDS}&last_etag={etag}"
        try:
            value, etag = _ask(key + query, WAIT_SECONDS + ANSWER_SECONDS)
        except (OSError, http.client.HTTPException):  # the server may restart
            closed.wait(RETRY_SECONDS)
            continue
        if value == ending != before and not closed.is_set():
            notify(meaning)
            return
        before = value


def _ask(path: str, seconds: float) -> tuple[str, str]:
    """Return the value below `instance/` of the metadata server, and the tag of its version."""
    host = os.environ.get(HOST_VARIABLE) or "metadata.google.internal"
    address = f"http://{host}/computeMetadata/v1/instance/{path}"
    request = urllib.request.Request(address, headers={"Metadata-Flavor": "Google"})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=seconds) as answer:
        return answer.read(1024).decode(errors="replace").strip(), answer.headers.get("ETag", "")
