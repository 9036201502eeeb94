"""A reference GoogLeNet in plain NumPy."""

import numpy as np


class PlainGoogLeNet:
    """The network in float64, layer by layer as the paper and Caffe's prototxt list them."""

    def __init__(self, variables):
        """Store the variables; without BatchNorm, the network has response normalisation."""
        self.params, self.statistics = variables["params"], variables.get("batch_stats")
        self.outputs = {}

    def __call__(self, x):
        """Return the logits; `outputs` has the endpoints and auxiliary logits."""
        x = self.pool(self.unit(x, "stem", "conv1", stride=2), 3, 2)
        x = self.unit(self.response_norm(x), "stem", "conv2_reduce")
        x = self.pool(self.response_norm(self.unit(x, "stem", "conv2")), 3, 2)
        self.outputs["stem"] = x
        for stage, blocks in ((3, 2), (4, 5), (5, 2)):
            x = self.pool(x, 3, 2) if stage > 3 else x
            for block in range(1, blocks + 1):
                x = self.inception(x, f"stage{stage}_block{block}")
                self.outputs[f"stage{stage}/block{block}"] = x
        x = self.outputs["pre_logits"] = x.mean((1, 2))
        self.outputs["aux1"] = self.classify(self.outputs["stage4/block1"], "aux1")
        self.outputs["aux2"] = self.classify(self.outputs["stage4/block4"], "aux2")
        return self.dense(x, "logits")

    def inception(self, x, name):
        return np.concatenate(
            [
                self.unit(x, name, "branch1"),
                self.unit(self.unit(x, name, "branch2_reduce"), name, "branch2"),
                self.unit(self.unit(x, name, "branch3_reduce"), name, "branch3"),
                self.unit(self.pool(x, 3, 1), name, "branch4"),
            ],
            -1,
        )

    def classify(self, x, name):
        if x.shape[1] == 14:
            x = self.windows(x, 5, 3).mean((-2, -1))
        x = self.unit(x, name, "conv")
        x = np.maximum(self.dense(x.reshape(len(x), -1), name, "hidden"), 0)
        return self.dense(x, name, "logits")

    def unit(self, x, block, name, stride=1):
        layer = self.params[block][name]
        kernel = layer["kernel"]
        pad = kernel.shape[0] // 2
        x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        windows = self.windows(x, kernel.shape[0], stride)
        x = np.tensordot(windows, kernel, ((3, 4, 5), (2, 0, 1))) + layer.get("bias", 0)
        if self.statistics:
            norm, running = (t[block][f"{name}_norm"] for t in (self.params, self.statistics))
            x = (x - running["mean"]) / np.sqrt(running["var"] + 1e-5)
            x = x * norm["scale"] + norm["bias"]
        return np.maximum(x, 0)

    def dense(self, x, *path):
        layer = self.params
        for name in path:
            layer = layer[name]
        return x @ layer["kernel"] + layer["bias"]

    def response_norm(self, x):
        if self.statistics:
            return x
        y = np.empty_like(x)
        for c in range(x.shape[-1]):
            near = x[..., max(c - 2, 0) : c + 3]
            y[..., c] = x[..., c] / (1 + 1e-4 / 5 * (near**2).sum(-1)) ** 0.75
        return y

    @staticmethod
    def pool(x, window, stride):
        """Windows are centred at stride 1.

        Otherwise they start at the first pixel and exceed the end.
        """
        before = window // 2 if stride == 1 else 0
        pads = (before, window // 2)
        x = np.pad(x, ((0, 0), pads, pads, (0, 0)), constant_values=-np.inf)
        return PlainGoogLeNet.windows(x, window, stride).max((-2, -1))

    @staticmethod
    def windows(x, window, stride):
        """Map `[batch, H, W, C]` to `[batch, H', W', C, window, window]`."""
        view = np.lib.stride_tricks.sliding_window_view(x, (window, window), (1, 2))
        return view[:, ::stride, ::stride]
