"""The published limits of accelerators, for rooflines.

All values are per chip, and operations are those of dense bfloat16 products. The sources are:

- v4: https://cloud.google.com/tpu/docs/v4; links: Jouppi et al., arXiv:2304.01433, Table 4.
- v5e: https://cloud.google.com/tpu/docs/v5e
- v5p: https://cloud.google.com/tpu/docs/v5p
- v6e: https://cloud.google.com/tpu/docs/v6e
- A100: NVIDIA's datasheet "A100 80GB SXM" (nvidia-a100-datasheet-us-nvidia-1758950-r4).
- H100: NVIDIA's datasheet "H100 SXM", which counts products with sparsity: 1,979 TFLOP/s are 989.5
  TFLOP/s of dense products.

Google calls the memory of v5e, v5p and v6e 16, 95 and 32 GB. They are GiB: the TPU compiler reports
15.75 GiB of a v5e as free, after 0.25 GiB of its own.
"""

from dataclasses import dataclass

_GIB = 2**30
_PLANE = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBE = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16")


@dataclass(frozen=True)
class Chip:
    """A kind of accelerator.

    Attributes:
      flops: Operations per second of bfloat16 products.
      memory: Bytes of high-bandwidth memory (HBM).
      bandwidth: Bytes per second between the chip and its memory.
      links: Links to other chips.
      link: Bytes per second that a link sends.
      shapes: Topologies of a slice, or numbers of GPUs of one machine.
    """

    flops: float
    memory: int
    bandwidth: float
    links: int
    link: float
    shapes: tuple[str, ...]


TPUS = {
    "v4": Chip(275e12, 32 * _GIB, 1200e9, 6, 50e9, _CUBE),
    "v5e": Chip(197e12, 16 * _GIB, 819e9, 4, 50e9, _PLANE),
    "v5p": Chip(459e12, 95 * _GIB, 2765e9, 6, 100e9, _CUBE),
    "v6e": Chip(918e12, 32 * _GIB, 1638e9, 4, 100e9, _PLANE),
}
# NVLink: all links of a GPU lead to a switch.
GPUS = {
    "a100": Chip(312e12, 80 * _GIB, 2039e9, 12, 25e9, ("1", "2", "4", "8")),
    "h100": Chip(989.5e12, 80 * _GIB, 3350e9, 18, 25e9, ("1", "2", "4", "8")),
}
