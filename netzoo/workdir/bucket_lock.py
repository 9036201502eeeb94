"""A lock among machines: an object in a bucket that its holder rewrites regularly.

The object is created on the condition that it does not exist (`if-generation-match: 0`), and
rewritten on the condition that nobody else has written it. Its text names the holder and the time
of the last heartbeat. A process that is killed stops its heartbeats, so its lock expires.
"""

import contextlib
import secrets
import threading
import time
from pathlib import Path

from netzoo.buckets import BucketError, explained, key_value_store
from netzoo.errors import UserError, note
from netzoo.lock import signature

BEAT_SECONDS = 10.0
MISSED_BEATS = 6  # after which a lock has expired


class BucketLock(contextlib.AbstractContextManager):
    """A lock of this process, until it is closed."""

    def __init__(self, path: Path):
        """Prepare the lock; `take` locks the object."""
        self._path, self._store = path, key_value_store(path.parent)
        self._token = secrets.token_hex(8)
        self._lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lock", daemon=True)

    def take(self, generation: bytes) -> bool:
        """Write the object if it has this generation; return whether this process has the lock."""
        self._generation = self._write(generation)
        if self._generation:
            self._thread.start()
        return bool(self._generation)

    def check(self) -> None:
        """Raise a UserError if another process has taken the lock."""
        if self._lost:
            raise UserError(
                f"{self._path} was taken by {describe(self._path)}, because this process wrote no "
                f"heartbeat for {MISSED_BEATS * BEAT_SECONDS:g} s; the other process continues the "
                "run"
            )

    def close(self) -> None:
        """Delete the object, unless another process has taken the lock."""
        self._ended.set()
        self._thread.join()
        if not self._lost:
            with explained(self._path):
                self._store.write(self._path.name, None, if_equal=self._generation).result()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _beat(self) -> None:
        while not self._lost and not self._ended.wait(BEAT_SECONDS):
            # A bucket that does not answer also stops the next checkpoint, which says so.
            with contextlib.suppress(Exception):
                generation = self._write(self._generation)
                self._lost = not generation
                self._generation = generation or self._generation

    def _write(self, generation: bytes) -> bytes:
        """Write a heartbeat; return its generation, or b"" if the object has another one."""
        text = f"{signature()}\n{time.time():.3f}\n{self._token}\n"
        written = self._store.write(self._path.name, text, if_equal=generation).result()
        if written.generation:
            return written.generation
        # TensorStore repeats a write whose answer was lost, and then finds its own object.
        found = self._store.read(self._path.name).result()
        own = found.state == "value" and self._token.encode() in found.value
        return found.stamp.generation if own else b""


def lock_object(path: Path) -> BucketLock | None:
    """Lock an object; return None if another process holds the lock.

    A lock is taken if it has expired and nobody writes it for two heartbeats, because the clocks of
    two machines can differ.

    Raises:
      BucketError: The bucket cannot be read or written.
    """
    lock, store = BucketLock(path), key_value_store(path.parent)
    with explained(path):
        found = store.read(path.name).result()
        if found.state == "value":
            note(f"{path}: {describe(path)} holds the lock; waiting for it to expire")
            left = MISSED_BEATS * BEAT_SECONDS - _age(found.value)
            deadline = time.monotonic() + max(left, 2 * BEAT_SECONDS)
        while found.state == "value" and time.monotonic() < deadline:
            time.sleep(BEAT_SECONDS / 10)
            seen, found = found, store.read(path.name).result()
            if found.state == "value" and found.stamp.generation != seen.stamp.generation:
                return None  # the holder has written a heartbeat
        return lock if lock.take(found.stamp.generation) else None


def describe(path: Path) -> str:
    """Return the holder of a lock and the age of its last heartbeat."""
    with explained(path):
        found = key_value_store(path.parent).read(path.name).result()
    if found.state != "value":
        return "another process"
    holder = found.value.decode(errors="backslashreplace").partition("\n")[0][:100]
    return f"{holder} (last heartbeat {_age(found.value):.0f} s ago)"


def _age(value: bytes) -> float:
    """Return the seconds since a heartbeat; a clock that is wrong cannot make it negative."""
    try:
        return max(0.0, time.time() - float(value.split(b"\n")[1]))
    except (IndexError, ValueError) as error:
        raise BucketError(f"the lock is damaged: {value[:80]!r}; delete the object") from error
