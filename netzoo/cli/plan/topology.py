"""Targets of `netzoo plan`, and TPUs that need not exist.

libtpu reads the environment when JAX loads it. A process that calls `tpu_devices` is therefore
started with the variables of `ENVIRONMENT`:

    environment = {**os.environ, **topology.ENVIRONMENT}
    subprocess.run([sys.executable, "compile_it.py"], env=environment)
"""

import math
from dataclasses import dataclass

import jax

from netzoo.cli import libtpu
from netzoo.cli.plan.chips import GPUS, TPUS, Chip
from netzoo.errors import UserError

# Without these, libtpu asks the metadata server of Google Cloud for its machine, excludes other
# processes that compile, and writes logs into /tmp.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    **libtpu.NO_TPU,
    "TPU_LOG_DIR": "disabled",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
CPU = "cpu"


@dataclass(frozen=True)
class Target:
    """Chips to plan for, written as `tpu:v5e:4x4`, `tpu:v5e:4x4:2` (two slices) or `gpu:h100:8`."""

    platform: str  # "tpu" or "gpu"
    kind: str
    shape: str
    slices: int = 1

    def __str__(self) -> str:
        parts = (self.platform, self.kind, self.shape, str(self.slices))
        return ":".join(parts if self.slices > 1 else parts[:3])

    @property
    def chip(self) -> Chip:
        """The limits of a chip."""
        return (TPUS if self.platform == "tpu" else GPUS)[self.kind]

    @property
    def axes(self) -> tuple[int, ...]:
        """The number of chips along each axis of a slice."""
        return tuple(map(int, self.shape.split("x")))

    @property
    def chips(self) -> int:
        """The number of chips of all slices."""
        return math.prod(self.axes) * self.slices

    @property
    def sending(self) -> float:
        """Bytes per second that a chip sends within its slice over all links that it can use.

        Two neighbours on an axis of length 2 share one link; on longer axes a chip has two.
        """
        if self.platform == "gpu":
            return self.chip.links * self.chip.link if self.chips > 1 else 0.0
        return self.chip.link * sum(min(n - 1, 2) for n in self.axes)


def parse_target(text: str) -> Target:
    """Return the target that a user named.

    Raises:
      UserError: The text names no target; the message lists the valid ones.
    """
    platform, _, rest = text.partition(":")
    kinds = {"tpu": TPUS, "gpu": GPUS}.get(platform)
    if kinds is None:
        raise UserError(
            f"target {text!r}; expected cpu, tpu:KIND:TOPOLOGY such as tpu:v5e:2x4, or "
            "gpu:KIND:NUMBER such as gpu:h100:8"
        )
    kind, _, rest = rest.partition(":")
    if kind not in kinds:
        valid = ", ".join(f"{platform}:{each}" for each in kinds)
        raise UserError(f"target {text!r}; expected one of {valid}, and then a topology")
    shape, _, slices = rest.partition(":")
    if shape not in kinds[kind].shapes:
        shapes = ", ".join(f"{platform}:{kind}:{each}" for each in kinds[kind].shapes)
        raise UserError(f"target {text!r}; expected one of {shapes}")
    if slices and (platform != "tpu" or not slices.isdecimal() or int(slices) < 1):
        raise UserError(
            f"target {text!r}; expected a whole number of TPU slices at its end, such as "
            "tpu:v5e:4x4:2"
        )
    return Target(platform, kind, shape, int(slices or 1))


def check_libtpu() -> None:
    """Raise a UserError unless the TPU compiler is installed."""
    if not libtpu.is_installed():
        raise UserError(
            "the TPU compiler, libtpu, is not installed; run pip install 'netzoo[tpu-aot]', or use "
            "--target cpu or --target gpu:h100:8"
        )


def tpu_devices(target: Target) -> list[jax.Device]:
    """Return devices that programs can be compiled for, but not run on.

    The process needs the variables of `ENVIRONMENT`.

    Raises:
      UserError: libtpu is not installed.
    """
    from jax.experimental import topologies

    check_libtpu()
    options: dict[str, object] = {"num_slices": target.slices}
    if target.chips == target.slices:  # the usual machine has 2x2 chips
        options["chips_per_host_bounds"] = (1, 1, 1)
    if target.kind == "v4":  # its two cores are one device, as on Cloud TPU
        options["chip_config_name"] = "megacore"
    name = f"{target.kind}:{target.shape}"
    return list(topologies.get_topology_desc(name, "tpu", **options).devices)
