"""Turns what was measured of a step into times, by a roofline.

A step takes at least as long as its products at the chip's peak, its traffic with the memory at the
full bandwidth, or its communication over all links, whichever is longest (Williams et al., 2009,
https://doi.org/10.1145/1498765.1498785). Real steps take longer: no kernel runs at the peak all the
time, and the three overlap only in part.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from netzoo.cli.plan.accelerator import fits, used_bytes
from netzoo.cli.plan.collectives import BETWEEN_SLICES
from netzoo.cli.plan.topology import Target

_OF_STEPS_THAT_RUN = (
    *("bytes", "sent", "collectives", "compute_seconds", "memory_seconds", "sending_seconds"),
    *("step_seconds", "bound", "per_second", "steps", "hours", "chip_hours"),
)


@dataclass(frozen=True)
class Plan:
    """A training step on the chips of a target; bytes and operations are per chip and step.

    Fields that only a compiler can fill are None for targets without a compiler. If the compiler
    refuses the step, the fields from `bytes` to `chip_hours`, except `unit`, are None.
    """

    target: str
    network: str
    chips: int
    rows: int  # the batch of all chips
    fits: bool | None
    hbm: int  # bytes of memory of a chip
    used: int | None  # bytes in use during a step
    state: int  # bytes between two steps
    arguments: int | None
    temporaries: int | None
    output: int | None
    alias: int | None  # output that replaces arguments
    code: int | None
    peak: int | None  # of the live arrays, by XLA
    flops: float
    bytes: float | None  # between the chip and its memory
    sent: int | None  # to other chips of the slice
    collectives: str | None
    compute_seconds: float | None
    memory_seconds: float | None
    sending_seconds: float | None
    step_seconds: float | None  # at least
    bound: str | None  # what determines step_seconds
    unit: str
    per_second: float | None  # units of all chips, at most
    steps: int | None  # of the run
    hours: float | None
    chip_hours: float | None
    compile_seconds: float | None
    jax: str | None
    libtpu: str | None
    refusal: str


def plan(
    result: Mapping[str, Any], target: Target, network: str, epochs: int, examples: int | None
) -> Plan:
    """Return the plan for the result of `netzoo.cli.plan.worker.measure`.

    `examples` is the number of training examples, if the result does not know it.
    """
    program = result["program"]
    compiled = program if program and not program["refusal"] else {}
    sent, collectives = _communication(result, target, compiled)
    accessed = compiled["bytes"] + result["repeated"] if compiled else _least_bytes(result)
    seconds = {
        "compute": result["flops"] / target.chip.flops,
        "memory": accessed / target.chip.bandwidth,
        "communication": sent / target.sending if target.sending else 0.0,
    }
    step = max(seconds.values())
    examples = result["examples"] or examples
    steps = examples // result["rows"] * epochs if examples else None
    hours = step * steps / 3600 if steps is not None else None
    kinds = ("arguments", "temporaries", "output", "alias", "code", "peak")
    found = Plan(
        target=str(target),
        network=network,
        chips=target.chips,
        rows=result["rows"],
        fits=fits(result),
        hbm=target.chip.memory,
        used=used_bytes(result),
        state=result["state"],
        **{kind: compiled.get(kind) for kind in kinds},
        flops=result["flops"],
        bytes=accessed,
        sent=sent,
        collectives=collectives,
        compute_seconds=seconds["compute"],
        memory_seconds=seconds["memory"],
        sending_seconds=seconds["communication"],
        step_seconds=step,
        bound=max(seconds, key=seconds.__getitem__),
        unit=result["unit"],
        per_second=result["units"] / step,
        steps=steps,
        hours=hours,
        chip_hours=None if hours is None else hours * target.chips,
        compile_seconds=program["seconds"] if program else None,
        jax=program["jax"] if program else None,
        libtpu=program["libtpu"] if program else None,
        refusal=program["refusal"] if program else "",
    )
    nothing: dict[str, Any] = dict.fromkeys(_OF_STEPS_THAT_RUN)
    return replace(found, **nothing) if found.fits is False else found


def _least_bytes(result: Mapping[str, Any]) -> float:
    """Return the traffic of a step that fuses all operations with its products.

    It reads and writes the state once, and the operands and results of products.
    """
    return result["products"] + 2 * result["state"]


def _communication(
    result: Mapping[str, Any], target: Target, compiled: Mapping[str, Any]
) -> tuple[int, str]:
    """Return the bytes that a chip sends within its slice, and a description of all collectives.

    Without a compiled program, the chips sum the gradients around a ring. Sharded parameters are
    gathered and their gradients scattered, which sends as much.
    """
    if not compiled:
        share = (target.chips - 1) / target.chips
        sent = round(2 * share * result["parameters"])
        return sent, "gradients" if sent else "none"
    parts = []
    for kind, size in compiled["sent"].items():
        overlap = compiled["asynchronous"].get(kind, 0)
        also = f" ({overlap} asynchronous)" if overlap else ""
        parts.append(f"{compiled['collectives'][kind]} {kind}{also} {size / 2**20:,.1f} MiB")
    within = (size for kind, size in compiled["sent"].items() if kind != BETWEEN_SLICES)
    return sum(within), ", ".join(parts) or "none"
