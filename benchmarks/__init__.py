"""Measurements against peers; `python -m benchmarks.TOOL --help`.

`throughput`: images a second of networks. `input`: of input pipelines. `layers`: time of layers.
`startup`: seconds to the first training step.
"""
