"""The reference of the Transformer: PyTorch's layers with the embeddings of the paper."""

import math

import torch


class TokenTransformer(torch.nn.Transformer):
    """`torch.nn.Transformer` from tokens to logits, with one shared embedding (section 3.4).

    Attributes:
      embedding: `[vocabulary, d_model]`.
    """

    def __init__(self, vocabulary: int, *, final_norm: bool, **arguments):
        """Create the network; without `final_norm`, remove the norm at the end of both stacks."""
        super().__init__(dropout=0.0, batch_first=True, **arguments)
        if not final_norm:
            self.encoder.norm = self.decoder.norm = None
        # These two shortcuts of inference leave out padded positions.
        self.encoder.use_nested_tensor = False
        torch.backends.mha.set_fastpath_enabled(False)
        self.embedding = torch.nn.Embedding(vocabulary, self.d_model)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Map tokens `[batch, S]` and `[batch, T]` to logits `[batch, T, vocabulary]`."""
        padding = source == 0
        length = target.shape[1]
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        decoded = super().forward(
            self._embed(source),
            self._embed(target),
            tgt_mask=future,
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
        )
        return decoded @ self.embedding.weight.T

    def _embed(self, tokens: torch.Tensor) -> torch.Tensor:
        positions = torch.zeros(tokens.shape[1], self.d_model, dtype=torch.float64)
        for position in range(tokens.shape[1]):
            for column in range(0, self.d_model, 2):
                angle = position / 10_000 ** (column / self.d_model)
                positions[position, column] = math.sin(angle)
                positions[position, column + 1] = math.cos(angle)
        return self.embedding(tokens) * math.sqrt(self.d_model) + positions
