"""Checkpoints of a run, on Orbax.

    WORKDIR/checkpoints/STEP/    the last few: training state and position in the data
    WORKDIR/best/STEP/           the best by the validation split: weights for evaluation only

All processes of a run write into the same folder, each the parts of arrays that its devices have.
A checkpoint can be read on any number of devices, whatever the number that wrote it.

A step's folder appears under its final name when everything in it is on disk, so a process killed
while saving leaves the checkpoint before it as the newest. Older steps are deleted after that. Each
step has checksums (`netzoo/workdir/checksums.py`), which are compared whenever it is read.
"""

import contextlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
from chex import ArrayTree

from netzoo.errors import UserError, unknown_name
from netzoo.workdir import BEST, CHECKPOINTS, WEIGHTS
from netzoo.workdir.checksums import ChecksummedPath, check_files

# Orbax logs dozens of lines a save, and where a disk is full a traceback for every tensor; it also
# raises what goes wrong.
for _name in ("absl", "asyncio"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class _CheckpointFolder:
    """A folder of checkpoints that is written without holding up the training."""

    def __init__(self, directory: Path, **options: Any):
        """Opens the folder, or creates it; `options` are Orbax's."""
        self.directory = directory.absolute()
        options |= {"temporary_path_class": ChecksummedPath}
        options |= {"cleanup_tmp_directories": True}  # of a process that was killed
        self._manager = ocp.CheckpointManager(
            self.directory, options=ocp.CheckpointManagerOptions(**options)
        )

    def _save(self, step: int, **items: ocp.args.CheckpointArgs) -> None:
        """Starts writing; returns when the values are copied and training may go on.

        Raises:
          UserError: This checkpoint, or the one before it, cannot be written; says why.
        """
        with _explained(self.directory):
            self._manager.save(step, args=ocp.args.Composite(**items))

    def close(self) -> None:
        """Waits for what is being written; raises UserError where that fails."""
        with _explained(self.directory):
            self._manager.close()


class Checkpoints(_CheckpointFolder):
    """The checkpoints of one run, in `WORKDIR/checkpoints`."""

    def __init__(self, workdir: Path, keep: int):
        """Opens the folder, or creates it; the newest `keep` checkpoints stay."""
        super().__init__(workdir / CHECKPOINTS, max_to_keep=keep)
        self._keep = keep

    def save(self, step: int, state: ArrayTree, iterator: grain.DatasetIterator) -> None:
        """Starts writing, unless the step is there; see `_save`."""
        if step not in self._manager.all_steps():
            data = grain.checkpoint.CheckpointSave(iterator)
            self._save(step, state=ocp.args.StandardSave(state), data=data)

    def exist(self) -> bool:
        """Returns whether there is any checkpoint, sound or not."""
        return bool(self._manager.all_steps())

    def restore(self, like: ArrayTree, iterator: grain.DatasetIterator) -> tuple[int, Any] | None:
        """Returns step and state of the newest checkpoint that can be read, or None without any.

        `like` is a state with the shapes, types and shardings wanted, whatever they were in the
        processes that saved it. `iterator` is set to the position that belongs to the state.

        Raises:
          UserError: There are checkpoints, and all of them are damaged.
        """

        def read(folder: Path) -> ArrayTree:
            arguments = ocp.args.Composite(state=ocp.args.StandardRestore(like))
            restored = self._manager.restore(int(folder.name), args=arguments)
            # The position is the same for all processes.
            position = min((folder / "data").glob("process_*.json"))
            iterator.set_state(json.loads(position.read_text()))
            return restored.state

        steps = sorted(self._manager.all_steps())
        for step, state in _sound(self.directory, steps, read):
            # Damaged newer ones go, whose steps are about to be saved again, and older ones beyond
            # those to keep, which a process killed while deleting left.
            kept = [older for older in steps if older <= step][-self._keep :]
            for other in sorted(set(steps) - set(kept)):
                self._manager.delete(other)
            return step, state
        if steps:
            raise UserError(
                f"no checkpoint can be read: all {len(steps)} in {self.directory} are damaged, as "
                "listed above. Delete the folder to start this run over, or give a new --workdir."
            )
        return None


class BestCheckpoint(_CheckpointFolder):
    """The weights with the highest metric so far, in `WORKDIR/best`."""

    def __init__(self, workdir: Path):
        """Opens the folder, or creates it; names and removes a damaged checkpoint."""
        super().__init__(
            workdir / BEST,
            max_to_keep=1,  # the newest is the best: only what beats it is saved
            lightweight_initialize=True,  # else Orbax does not open a folder with a damaged metric
        )

        def read_value(folder: Path) -> float:
            # The file of Orbax's item of JSON.
            return json.loads((folder / "metrics" / "metrics").read_text())["value"]

        steps = self._manager.all_steps()
        best: tuple[int, float] = next(_sound(self.directory, steps, read_value), (0, -np.inf))
        self._step, self._value = best
        for other in set(steps) - {self._step}:
            self._manager.delete(other)

    def save(self, step: int, weights: ArrayTree, value: float) -> None:
        """Starts writing `weights` if `value` is higher than every one before; see `_save`."""
        # A resumed run repeats steps up to the best one, which has beaten them already.
        if step <= self._step or not value > self._value:
            return
        self._step, self._value = step, value
        metric = ocp.args.JsonSave({"value": value})
        self._save(step, state=ocp.args.StandardSave(weights), metrics=metric)


def restore_variables(workdir: Path, which: str = "last") -> tuple[int, str, ArrayTree]:
    """Reads the variables for evaluation from a run.

    `which` is `"last"`, `"best"`, or `"average"`: the mean of the weights, as trained, of all
    checkpoints that the run keeps (Vaswani et al., arXiv:1706.03762, section 6.1).

    Returns:
      The step, the newest of those averaged; which weights these are: `"params"`, `"ema"` where
      the run keeps a moving average, or say `"mean of 5"`; and the variables.

    Raises:
      UserError: `which` is none of the three, or there is no such checkpoint that can be read.
    """
    if which not in WEIGHTS:
        raise unknown_name("checkpoint", which, WEIGHTS)
    directory = Path(workdir).absolute() / (BEST if which == "best" else CHECKPOINTS)
    steps = ocp.utils.checkpoint_steps(directory) if directory.is_dir() else []
    sound = _sound(directory, steps, _read_arrays)
    newest = next(sound, None)
    if newest is None:
        hint = " (a run has one if it has a data.validation_split)" if which == "best" else ""
        raise UserError(f"no {which} checkpoint in {directory}, or only damaged ones{hint}")
    step, state = newest
    if which != "average":
        ema = state.get("ema")
        return (step, "ema", ema) if ema else (step, "params", _trained(state))
    total, count = _trained(state), 1
    for _, older in sound:
        total, count = jax.tree.map(np.add, total, _trained(older)), count + 1
    return step, f"mean of {count}", jax.tree.map(lambda x: x / count, total)


def _trained(state: ArrayTree) -> ArrayTree:
    return {"params": state["params"], **state["model_state"]}


def _sound(
    directory: Path, steps: Iterable[int], read: Callable[[Path], Any]
) -> Iterator[tuple[int, Any]]:
    """Yields sound steps, newest first, and what `read` returns for them; prints the others."""
    for step in sorted(steps, reverse=True):
        folder = directory / str(step)
        try:
            check_files(folder)
            value = read(folder)
        except Exception as error:  # Orbax and TensorStore raise a dozen types for damage
            if folder.exists():  # else a training that goes on has deleted it meanwhile
                print(f"checkpoint damaged, left out: {folder}: {_first_line(error)}", flush=True)
        else:
            yield step, value


def _read_arrays(folder: Path) -> ArrayTree:
    """Reads the state as NumPy arrays, which do not depend on the devices that saved it."""
    with ocp.StandardCheckpointer() as reader:
        saved = reader.metadata(folder / "state").item_metadata.tree
        # Given anything but NumPy's, Orbax looks for the devices of the processes that saved.
        like = jax.tree.map(lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), saved)
        return reader.restore(folder / "state", like)


@contextlib.contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Turns what Orbax raises while writing into one error that says what to do."""
    try:
        yield
    except Exception as error:  # of any type, as above; a failed write raises in the next save
        full = "No space left on device" in str(error)
        why = "the disk is full; free space" if full else f"{_first_line(error)}; mend it"
        raise UserError(
            f"no checkpoint can be written to {directory}: {why}, and the same command continues "
            "from the newest complete one"
        ) from error


def _first_line(error: Exception) -> str:
    first, _, _ = str(error).strip().partition("\n")
    return f"{type(error).__name__}: {first[:200]}"
