"""Measurements of netzoo's speed beside other libraries; `python -m benchmarks.TOOL --help`.

throughput        images per second of networks
input             images per second of input pipelines, beside tf.data
input_pipeline    images per second of netzoo's input pipeline alone
layers            milliseconds of layers
serve             requests per second and latency of the HTTP server
startup           seconds of an import, to the first training step and of a prediction
translation       tokens and sentences per second of the Transformer
"""
