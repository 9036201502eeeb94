"""Measurements against peers; `python -m benchmarks.throughput --help`."""
