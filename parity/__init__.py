"""Proof that a network of netzoo gives the numbers of the implementation it is measured against.

    python -m parity.reference [CASE ...]   # needs the extra `parity`: PyTorch; writes fixtures
    python -m parity.compare [CASE ...]     # netzoo against them: the table of docs/parity.md

Weights are not stored: both sides draw them from one generator that is keyed by the names of the
reference's tensors, and netzoo's go through its own converter. The reference computes in float64,
so that the differences are netzoo's alone.
"""
