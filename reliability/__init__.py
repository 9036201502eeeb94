"""Faults, kills and hostile files tried on real runs; `python -m reliability.TOOL --help`."""
