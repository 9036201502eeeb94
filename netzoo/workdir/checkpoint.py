"""Checkpoints of a run, on Orbax.

    WORKDIR/checkpoints/STEP/    the last few regular ones, and the newest: training state and data
                                 position
    WORKDIR/best/STEP/           the best on the validation split: weights only

All processes of a run write into the same folder, each the array shards of its devices. A
checkpoint can be read on any number of devices.

A step's folder gets its final name when all its files are on disk, so a killed save leaves the
previous checkpoint as the newest. In a bucket, where nothing can be renamed, a last object
completes the step instead: `commit_success.txt`. Older steps are deleted afterwards. Each step has
checksums (`netzoo/workdir/checksums.py`), which are verified at every read.
"""

import contextlib
import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from chex import ArrayTree

from netzoo.buckets import is_in_bucket, reason
from netzoo.errors import UserError, note, unknown_name
from netzoo.files import bytes_below, make_folder, write_bytes
from netzoo.json_files import read_json
from netzoo.last_words import last_words
from netzoo.limits import check_unpacked
from netzoo.workdir import BEST, CHECKPOINTS, WEIGHTS
from netzoo.workdir.checksums import (
    ChecksummedObjects,
    ChecksummedPath,
    Damaged,
    check_files,
)
from netzoo.workdir.folder import FRESH_FILE

if TYPE_CHECKING:
    import grain


def _is_foreign(record: logging.LogRecord) -> bool:
    """Return whether a log line comes neither from Orbax nor from TensorStore."""
    return re.search("orbax/|tensorstore", f"{record.pathname} {record.msg}") is None


# Orbax logs dozens of lines per save, and a traceback for every tensor if the disk is full. It also
# raises these errors. Other libraries use these loggers too, so a filter removes only these lines.
for _name in ("absl", "asyncio"):
    logging.getLogger(_name).addFilter(_is_foreign)

_LAST_WORDS = (
    "error: this process ended while it read {}: the checkpoint is damaged or hostile, the memory "
    "was full, or the process was killed"
)
# The item that marks an extra checkpoint, which a signal saved between regular ones.
_EXTRA = "extra"
# Reasons why a run may lack a kind of checkpoint.
_HINTS = {
    "best": " (a run has one if it has a data.validation_split)",
    "average": (
        " (the average takes the checkpoints of every checkpoint.every_steps steps, not one that a "
        "signal saved)"
    ),
}


class _CheckpointFolder:
    """A folder of checkpoints that are written in the background of training."""

    def __init__(self, directory: Path, **options: Any):
        """Open or create the folder; `options` are Orbax's."""
        self.directory = make_folder(_absolute(directory))
        in_bucket = is_in_bucket(self.directory)
        options |= {"temporary_path_class": ChecksummedObjects if in_bucket else ChecksummedPath}
        options |= {"cleanup_tmp_directories": True}  # left by a killed process
        # Processes meet in barriers that Orbax names by the step. Both folders of a run may save
        # one step at the same time; without the prefix, the processes would wait forever.
        options["multiprocessing_options"] = ocp.options.MultiprocessingOptions(
            barrier_sync_key_prefix=directory.name
        )
        self._manager = ocp.CheckpointManager(
            self.directory, options=ocp.CheckpointManagerOptions(**options)
        )

    def _save(self, step: int, **items: ocp.args.CheckpointArgs) -> None:
        """Start writing; return when the values are copied and training may continue.

        Raises:
          UserError: This checkpoint or the previous one cannot be written; the message gives the
            reason.
        """
        with _explained(self.directory):
            self._manager.save(step, args=ocp.args.Composite(**items))

    def wait(self) -> None:
        """Wait for pending writes; raise a UserError if they fail."""
        with _explained(self.directory):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait for pending writes; raise a UserError if they fail."""
        with _explained(self.directory):
            self._manager.close()


class Checkpoints(_CheckpointFolder):
    """The checkpoints of one run, in `WORKDIR/checkpoints`."""

    def __init__(self, workdir: Path, keep: int):
        """Open or create the folder.

        It keeps the last `keep` regular checkpoints. The newest checkpoint is kept too, because it
        may be an extra one that a signal saved.
        """
        self._keep = keep
        super().__init__(workdir / CHECKPOINTS, preservation_policy=self)
        steps = self._manager.all_steps()
        if not steps and jax.process_index() == 0:
            write_bytes(self.directory / FRESH_FILE, b"")
        self._extra = {s for s in steps if _is_extra(self.directory / str(s))}

    def save(
        self,
        step: int,
        state: ArrayTree,
        iterator: "grain.DatasetIterator",
        *,
        regular: bool = True,
    ) -> None:
        """Start writing unless the step exists; see `_save`.

        `regular` says whether an uninterrupted run would also save this step.
        """
        import grain  # a prediction reads checkpoints without it

        if step in self._manager.all_steps():
            return
        items: dict[str, Any] = {"state": ocp.args.StandardSave(state)}
        items["data"] = grain.checkpoint.CheckpointSave(iterator)
        if not regular:
            self._extra.add(step)
            items[_EXTRA] = ocp.args.JsonSave({})
        self._save(step, **items)

    def should_preserve(self, checkpoints: Sequence[Any], *, context: object) -> list[bool]:
        """Orbax calls this for the saved steps, oldest first."""
        kept = self._kept([checkpoint.step for checkpoint in checkpoints])
        return [checkpoint.step in kept for checkpoint in checkpoints]

    def _kept(self, steps: Sequence[int]) -> set[int]:
        """Return the newest step and the last regular steps; `steps` are in order."""
        regular = [step for step in steps if step not in self._extra]
        return {*steps[-1:], *regular[-self._keep :]}

    def exist(self) -> bool:
        """Return whether there is any checkpoint, intact or damaged."""
        return bool(self._manager.all_steps())

    def restore(self, like: ArrayTree, iterator: "grain.DatasetIterator") -> tuple[int, Any] | None:
        """Return step and state of the newest intact checkpoint, or None if there is none.

        `like` is a state with the required shapes, dtypes and shardings, which may differ from the
        saved shardings. `iterator` is set to the position that belongs to the state.

        Raises:
          UserError: All existing checkpoints are damaged.
        """

        def read(folder: Path) -> ArrayTree:
            _described(folder)
            arguments = ocp.args.Composite(state=ocp.args.StandardRestore(like))
            restored = self._manager.restore(int(folder.name), args=arguments)
            # The position is the same for all processes.
            position = min((folder / "data").glob("process_*.json"))
            iterator.set_state(read_json(position, {}))
            return restored.state

        steps = sorted(self._manager.all_steps())
        for step, state in _sound(self.directory, steps, read):
            # Delete damaged newer checkpoints, whose steps will be saved again, and older ones that
            # a killed process did not delete.
            kept = self._kept([older for older in steps if older <= step])
            for other in sorted(set(steps) - kept):
                self._manager.delete(other)
            return step, state
        if steps:
            raise UserError(
                f"no checkpoint can be read: all {len(steps)} in {self.directory} are damaged, as "
                "listed above. To start over, give a new --workdir."
            )
        return None


class BestCheckpoint(_CheckpointFolder):
    """The weights with the highest metric so far, in `WORKDIR/best`.

    Attributes:
      step: The step of these weights; 0 if there are none.
    """

    def __init__(self, workdir: Path):
        """Open or create the folder; report and remove a damaged checkpoint."""
        super().__init__(
            workdir / BEST,
            max_to_keep=1,  # the newest is the best: only improvements are saved
            lightweight_initialize=True,  # otherwise Orbax rejects a folder with a damaged metric
        )

        def read_value(folder: Path) -> float:
            # Orbax stores the JSON item in this file.
            return read_json(folder / "metrics" / "metrics", {"value": float})["value"]

        steps = self._manager.all_steps()
        best: tuple[int, float] = next(_sound(self.directory, steps, read_value), (0, -np.inf))
        self.step, self._value = best
        for other in set(steps) - {self.step}:
            self._manager.delete(other)

    def decided(self, value: float | None) -> bool:
        """Return whether the best weights already take an evaluation with this metric into account.

        The metric may be None, which means that it was not finite.
        """
        return value is None or value <= self._value

    def save(self, step: int, weights: ArrayTree, value: float) -> None:
        """Start writing `weights` if `value` is the highest so far; see `_save`."""
        # A continued run repeats steps that are not better than the saved best.
        if step <= self.step or not value > self._value:
            return
        self.step, self._value = step, value
        metric = ocp.args.JsonSave({"value": value})
        self._save(step, state=ocp.args.StandardSave(weights), metrics=metric)


def restore_variables(workdir: Path, which: str = "last") -> tuple[int, str, ArrayTree]:
    """Read the variables of a run for evaluation.

    `which` is `"last"`, `"best"`, or `"average"`: the mean of the trained weights (not the moving
    averages) of all kept regular checkpoints (Vaswani et al., arXiv:1706.03762, section
    6.1).

    Returns:
      The step, or the newest averaged step; the kind of weights: `"params"`, `"ema"` if the run
      keeps an average, or e.g. `"mean of 5"`; and the variables.

    Raises:
      UserError: `which` is unknown, or no such checkpoint can be read.
    """
    if which not in WEIGHTS:
        raise unknown_name("checkpoint", which, WEIGHTS)
    jax.devices()  # not inside `_sound`, which takes any error for that of a checkpoint
    directory = _absolute(workdir) / (BEST if which == "best" else CHECKPOINTS)
    steps = ocp.utils.checkpoint_steps(directory) if directory.is_dir() else []
    if which == "average":
        steps = [step for step in steps if not _is_extra(directory / str(step))]
    sound = _sound(directory, steps, lambda folder: _read_variables(folder, which != "average"))
    newest = next(sound, None)
    if newest is None:
        hint = _HINTS.get(which, "")
        raise UserError(f"no {which} checkpoint in {directory}, or only damaged ones{hint}")
    step, (kind, variables) = newest
    if which != "average":
        return step, kind, variables
    total, count = variables, 1
    for _, (_, older) in sound:
        total, count = jax.tree.map(np.add, total, older), count + 1
    return step, f"mean of {count}", jax.tree.map(lambda x: x / count, total)


def _absolute(path: Path) -> Path:
    """Return a path as Orbax needs it; an address in a bucket is absolute."""
    return path if is_in_bucket(path) else Path(path).absolute()


def _is_extra(folder: Path) -> bool:
    return (folder / _EXTRA).exists()


def _sound(
    directory: Path, steps: Iterable[int], read: Callable[[Path], Any]
) -> Iterator[tuple[int, Any]]:
    """Yield intact steps, newest first, and the results of `read`; print damaged steps.

    Raises:
      UserError: A step in a bucket cannot be read. Such a step may be intact, because a network can
        fail. It does not count as damaged, because a run deletes damaged steps.
    """
    for step in sorted(steps, reverse=True):
        folder = directory / str(step)
        try:
            check_files(folder)
            with last_words(_LAST_WORDS.format(folder)):
                value = read(folder)
        except Exception as error:  # Orbax and TensorStore raise many types for damaged files
            if is_in_bucket(folder) and not isinstance(error, Damaged):
                raise UserError(
                    f"{folder} cannot be read: {reason(error) or _first_line(error)}. To continue "
                    "from an older checkpoint, delete this one"
                ) from error
            if folder.exists():  # otherwise a running training has deleted it
                note(f"checkpoint damaged, left out: {folder}: {_first_line(error)}")
        else:
            yield step, value


def _read_variables(folder: Path, averages: bool) -> tuple[str, ArrayTree]:
    """Read variables as NumPy arrays, whatever the devices that saved them.

    Only these variables are read, not the rest of the state, such as that of the optimizer.

    Args:
      folder: The folder of a step.
      averages: Whether to read the moving averages of the weights, if the run keeps them.

    Returns:
      `"ema"` or `"params"`, and the variables.
    """
    saved = _described(folder)
    if averages and saved.get("ema"):
        return "ema", _restore(folder, {"ema": saved["ema"]})["ema"]
    state = _restore(folder, {name: saved[name] for name in ("params", "model_state")})
    return "params", {"params": state["params"], **state["model_state"]}


def read_arrays(folder: Path) -> ArrayTree:
    """Read the whole state as NumPy arrays, whatever the devices that saved it."""
    return _restore(folder, _described(folder))


def _restore(folder: Path, described: ArrayTree) -> ArrayTree:
    """Read a state, or the part of a state with these descriptions, as NumPy arrays."""
    # For other arrays, Orbax looks for the devices of the processes that saved them.
    like = jax.tree.map(lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), described)
    arguments = ocp.args.PyTreeRestore(
        like, ocp.checkpoint_utils.construct_restore_args(like), partial_restore=True
    )
    with ocp.PyTreeCheckpointer() as reader:
        return reader.restore(folder / "state", arguments)


def _described(folder: Path) -> ArrayTree:
    """Return the descriptions of the saved arrays, whose sizes are checked.

    TensorStore ends the process if it cannot allocate what a damaged description claims.
    """
    with ocp.StandardCheckpointer() as reader:
        saved = reader.metadata(folder / "state").item_metadata.tree
    claimed = 0
    for leaf in jax.tree.leaves(saved):
        chunk = leaf.storage.chunk_shape if leaf.storage else None
        claimed += leaf.dtype.itemsize * max(math.prod(leaf.shape), math.prod(chunk or ()))
    check_unpacked(bytes_below(folder), claimed)
    return saved


@contextlib.contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Convert Orbax's errors in writing to a UserError with advice."""
    try:
        yield
    except Exception as error:  # of any type; a failed write raises in the next save
        full = "No space left on device" in str(error)
        why = reason(error) if is_in_bucket(directory) else None
        why = why or ("the disk is full; free space" if full else f"{_first_line(error)}; fix it")
        raise UserError(
            f"no checkpoint can be written to {directory}: {why}, and the same command continues "
            "from the newest complete one"
        ) from error


def _first_line(error: Exception) -> str:
    first, _, _ = str(error).strip().partition("\n")
    return f"{type(error).__name__}: {first[:200]}"
