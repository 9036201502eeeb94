"""Checkpoints of a run, on Orbax.

    WORKDIR/checkpoints/STEP/    the last few: training state and position in the data
    WORKDIR/best/STEP/           the best by the validation split: weights for evaluation only

All processes of a run write into the same folder, each the parts of arrays that its devices have.
What is read fits whatever devices there are then: nothing depends on those that wrote.

A step's folder appears under its final name when everything in it is on disk, so a process killed
while saving leaves the checkpoint before it as the newest. Older steps are deleted after that. Each
step has checksums (`netzoo/workdir/checksums.py`), which are compared whenever it is read.
"""

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
from chex import ArrayTree

from netzoo.errors import UserError
from netzoo.workdir import BEST, CHECKPOINTS
from netzoo.workdir.checksums import ChecksummedPath, check_files

METRICS = "metrics/metrics"  # the file of Orbax's item of JSON

# Orbax logs dozens of lines a save, and where a disk is full a traceback for every tensor; what
# goes wrong it raises as well.
for _name in ("absl", "asyncio"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class Checkpoints:
    """The checkpoints of one run, written without holding up the training.

    Attributes:
      directory: `WORKDIR/checkpoints`.
    """

    def __init__(self, workdir: Path, keep: int):
        """Opens the folder, making it where there is none; the newest `keep` stay."""
        self.directory = Path(workdir).absolute() / CHECKPOINTS
        self._keep = keep
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                cleanup_tmp_directories=True,  # of a process that was killed
                temporary_path_class=ChecksummedPath,
            ),
        )

    def save(self, step: int, state: ArrayTree, iterator: grain.DatasetIterator) -> None:
        """Starts writing; returns when the values are copied and training may go on.

        Raises:
          UserError: This checkpoint, or the one before it, cannot be written; says why.
        """
        if step in self._manager.all_steps():
            return
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(state), data=grain.checkpoint.CheckpointSave(iterator)
        )
        with _explained(self.directory):
            self._manager.save(step, args=arguments)

    def exist(self) -> bool:
        """Returns whether there is any, sound or not."""
        return bool(self._manager.all_steps())

    def restore(
        self, like: ArrayTree, iterator: grain.DatasetIterator
    ) -> tuple[int, ArrayTree] | None:
        """Restores the newest checkpoint that can be read.

        Args:
          like: A state with the shapes, types and shardings wanted, whatever they were in the
            processes that saved it.
          iterator: Set to the position that belongs to the state.

        Returns:
          The step and the state, or None where there is no checkpoint.

        Raises:
          UserError: There are checkpoints and none of them can be read.
        """
        damaged = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                check_files(self.directory / str(step))
                restored = self._manager.restore(
                    step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like))
                )
                iterator.set_state(_position(self.directory / str(step) / "data"))
            except Exception as error:  # Orbax and TensorStore raise a dozen types for damage
                damaged.append(f"{self.directory / str(step)}: {_first_line(error)}")
                print(_damaged(self.directory / str(step), error), flush=True)
                continue
            self._discard_others(step)
            return step, restored.state
        if damaged:
            raise UserError(
                "no checkpoint can be read:\n  " + "\n  ".join(damaged) + "\nDelete "
                f"{self.directory} to start this run over, or give a new --workdir."
            )
        return None

    def _discard_others(self, step: int) -> None:
        """Removes damaged newer checkpoints, whose steps are about to be saved again.

        And older ones beyond those to keep, which a process killed in the middle of deleting left.
        """
        steps = sorted(self._manager.all_steps())
        kept = [older for older in steps if older <= step][-self._keep :]
        for other in sorted(set(steps) - set(kept)):
            self._manager.delete(other)

    def close(self) -> None:
        """Waits for what is being written; raises UserError where that fails."""
        with _explained(self.directory):
            self._manager.close()


class BestCheckpoint:
    """The weights with the highest metric so far, in `WORKDIR/best`."""

    def __init__(self, workdir: Path):
        """Opens the folder, making it where there is none; names and removes a damaged one."""
        self.directory = Path(workdir).absolute() / BEST
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=1,  # the newest is the best: only what beats it is saved
                lightweight_initialize=True,  # else it opens no folder with a damaged metric
                cleanup_tmp_directories=True,
                temporary_path_class=ChecksummedPath,
            ),
        )
        self._step, self._value = 0, -np.inf
        for step in sorted(self._manager.all_steps(), reverse=True):
            value = None if self._step else self._value_at(step)
            if value is None:
                self._manager.delete(step)
            else:
                self._step, self._value = step, value

    def _value_at(self, step: int) -> float | None:
        """Returns the metric of a sound step; names one that is damaged."""
        try:
            check_files(self.directory / str(step))
            return json.loads((self.directory / str(step) / METRICS).read_text())["value"]
        except Exception as error:  # as above
            print(_damaged(self.directory / str(step), error), flush=True)
            return None

    def save(self, step: int, weights: ArrayTree, value: float) -> None:
        """Saves `weights` if `value` is higher than every one before; raises UserError as above."""
        # A resumed run comes once more to steps up to the best: that one has beaten them.
        if step <= self._step or not value > self._value:
            return
        self._step, self._value = step, value
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(weights), metrics=ocp.args.JsonSave({"value": value})
        )
        with _explained(self.directory):
            self._manager.save(step, args=arguments)

    def close(self) -> None:
        """Waits for what is being written; raises UserError where that fails."""
        with _explained(self.directory):
            self._manager.close()


def restore_variables(workdir: Path, which: str = "last") -> tuple[int, str, ArrayTree]:
    """Reads the variables for evaluation from a run.

    Args:
      workdir: The run folder.
      which: `"last"`, `"best"`, or `"average"`: the mean of the weights, as trained, of all
        checkpoints that the run keeps (Vaswani et al., arXiv:1706.03762, section 6.1).

    Returns:
      The step, the newest of those averaged; which weights these are: `"params"`, `"ema"` where
      the run keeps a moving average, or say `"mean of 5"`; and `{"params": ..., "batch_stats":
      ...}`.

    Raises:
      UserError: There is no such checkpoint, or none that can be read.
    """
    directory = Path(workdir).absolute() / (BEST if which == "best" else CHECKPOINTS)
    found = _readable(directory)
    step, state = next(found, (None, None))
    if step is None:
        hint = " (a run has one if it has a data.validation_split)" if which == "best" else ""
        raise UserError(f"no {which} checkpoint in {directory}: none is there and sound{hint}")
    if which == "average":
        total, count = _trained(state), 1
        for _, older in found:
            total, count = jax.tree.map(np.add, total, _trained(older)), count + 1
        return step, f"mean of {count}", jax.tree.map(lambda x: x / count, total)
    if state.get("ema"):
        return step, "ema", state["ema"]
    return step, "params", _trained(state)


def _trained(state: ArrayTree) -> ArrayTree:
    return {"params": state["params"], **state["model_state"]}


def _readable(directory: Path) -> Iterator[tuple[int, ArrayTree]]:
    """Reads the sound checkpoints, newest first, and names the others."""
    steps = ocp.utils.checkpoint_steps(directory) if directory.is_dir() else []
    for step in sorted(steps, reverse=True):
        folder = directory / str(step)
        try:
            check_files(folder)
            with ocp.StandardCheckpointer() as reader:
                state = _read_arrays(reader, folder / "state")
        except Exception as error:  # as above
            if folder.exists():  # else the training, which goes on, has deleted it meanwhile
                print(_damaged(folder, error))
            continue
        yield step, state


def _read_arrays(reader: ocp.StandardCheckpointer, path: Path) -> ArrayTree:
    """Reads NumPy arrays, which need none of the devices that they were saved from."""

    def like(leaf):
        # Given anything but NumPy's, Orbax looks for the devices of the processes that saved.
        return np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)

    return reader.restore(path, jax.tree.map(like, reader.metadata(path).item_metadata.tree))


def _position(folder: Path) -> dict[str, Any]:
    """Reads the position in the data: one batch for all processes, so any one's will do."""
    return json.loads(min(folder.glob("process_*.json")).read_text())


@contextlib.contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Turns what Orbax raises while writing into one error that says what to do."""
    try:
        yield
    except Exception as error:  # as above; errors of a write come with the save after it
        full = "No space left on device" in str(error)
        why = "the disk is full; free space" if full else f"{_first_line(error)}; mend that"
        raise UserError(
            f"no checkpoint can be written to {directory}: {why}, and the same command continues "
            "from the newest complete one"
        ) from error


def _damaged(folder: Path, error: Exception) -> str:
    return f"checkpoint damaged, left out: {folder}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return (
        f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error) else ''}"
    )
