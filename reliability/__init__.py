"""Runs that are killed, interrupted and damaged, and files that nobody should have to read.

`python -m reliability.TOOL --help`: `kills` is SIGKILL at random moments, `faults` everything else
that goes wrong with a run, `hostile_files` and `fuzz` are bad input. docs/reliability.md says what
is promised.
"""
