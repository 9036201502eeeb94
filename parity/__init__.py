"""Comparison of netzoo's networks with their reference implementations.

    python -m parity.reference [CASE ...]   # writes fixtures; needs PyTorch (the extra `parity`)
    python -m parity.compare [CASE ...]     # compares netzoo with them: the table of docs/parity.md

Weights are not stored: both sides generate them with one generator, which is keyed by the names of
the reference's tensors, and netzoo converts them with its own converter. The reference computes in
float64, so that all differences come from netzoo.
"""
