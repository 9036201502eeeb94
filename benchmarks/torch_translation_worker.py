"""A contestant in PyTorch: `torch.nn.Transformer`, trained or translating.

The network equals netzoo's: no norm after the stacks, one embedding, and dropout only where the
paper has it. `torch.nn.Transformer` cannot decode with a cache; `Decoder` does this with its
weights.
"""

import json
import math
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.contestants import peak_host_bytes, serve_steps
from benchmarks.sentences import PAD, START, draw_pairs


class TokenTransformer(torch.nn.Transformer):
    """A Transformer that maps tokens to logits."""

    def __init__(self, settings: dict[str, Any]):
        """Create the network of the settings, for sentences of at most `settings["length"]`."""
        width, rate = settings["width"], settings["dropout_rate"]
        super().__init__(
            d_model=width,
            nhead=settings["heads"],
            num_encoder_layers=settings["layers"],
            num_decoder_layers=settings["layers"],
            dim_feedforward=settings["mlp_dim"],
            dropout=rate,
            layer_norm_eps=1e-6,
            batch_first=True,
        )
        self.encoder.norm = self.decoder.norm = None
        for layer in (*self.encoder.layers, *self.decoder.layers):
            layer.dropout.p = layer.self_attn.dropout = 0.0
            if hasattr(layer, "multihead_attn"):
                layer.multihead_attn.dropout = 0.0
        self.embedding = torch.nn.Embedding(settings["vocabulary"], width)
        torch.nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.embedding_dropout = torch.nn.Dropout(rate)
        length = settings["length"]
        angles = torch.arange(length)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
        positions = torch.stack([angles.sin(), angles.cos()], -1).reshape(length, width)
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        self.register_buffer("positions", positions, persistent=False)
        self.register_buffer("future", future, persistent=False)

    def embed(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Map tokens `[batch, length]` to `[batch, length, width]`."""
        scaled = self.embedding(tokens) * math.sqrt(self.d_model)
        return self.embedding_dropout(scaled + positions)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Map `[..., width]` to `[..., vocabulary]`."""
        return F.linear(x, self.embedding.weight)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Map tokens `[batch, S]` and `[batch, T]` to logits `[batch, T, vocabulary]`."""
        padding, length = source == PAD, target.shape[1]
        x = super().forward(
            self.embed(source, self.positions[: source.shape[1]]),
            self.embed(target, self.positions[:length]),
            tgt_mask=self.future[:length, :length],
            tgt_is_causal=True,
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
        )
        return self.logits(x)


class Decoder:
    """Beam search with a cache; the beams of a sentence share the encoder's output."""

    def __init__(self, model: TokenTransformer, beams: int, length: int):
        """Store a network in evaluation mode and the `length` of every translation."""
        self.model, self.beams, self.length = model, beams, length

    def __call__(self, source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tokens `[batch, beams, length]` and their log probabilities, best first."""
        model, beams, (batch, width) = self.model, self.beams, (len(source), self.model.d_model)
        padding = source == PAD
        memory = model.encoder(
            model.embed(source, model.positions[: source.shape[1]]), src_key_padding_mask=padding
        )
        memories = [self._memory(layer.multihead_attn, memory) for layer in model.decoder.layers]
        looks = ~padding[:, None, None, :]
        heads = model.nhead
        cache = torch.empty((len(memories), 2, batch * beams, heads, self.length, width // heads))
        tokens = torch.zeros((batch, beams, self.length), dtype=torch.long)
        last = torch.full((batch * beams, 1), START)
        scores = torch.full((batch, beams), -math.inf)
        scores[:, 0] = 0
        first = beams * torch.arange(batch)[:, None]
        for position in range(self.length):
            x = model.embed(last, model.positions[position])
            for layer, own, memory in zip(model.decoder.layers, cache, memories, strict=True):
                x = self._layer(layer, x, own, position, memory, looks)
            log_probs = model.logits(x).log_softmax(-1).view(batch, beams, -1)
            log_probs[..., : START + 1] = -math.inf  # neither padding nor START
            scores, chosen = (scores[..., None] + log_probs).flatten(1).topk(beams)
            parents, last = chosen // log_probs.shape[-1], chosen % log_probs.shape[-1]
            if beams > 1:
                rows = (first + parents).flatten()
                past = cache[..., : position + 1, :]
                past.copy_(past[:, :, rows])
                tokens = tokens.gather(1, parents[..., None].expand_as(tokens))
            tokens[:, :, position] = last
            last = last.view(-1, 1)
        return tokens, scores

    @staticmethod
    def _heads(attention: torch.nn.MultiheadAttention, x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:-1], attention.num_heads, -1).transpose(1, 2)

    def _memory(
        self, attention: torch.nn.MultiheadAttention, memory: torch.Tensor
    ) -> list[torch.Tensor]:
        width = memory.shape[-1]
        weight, bias = attention.in_proj_weight[width:], attention.in_proj_bias[width:]
        both = F.linear(memory, weight, bias).chunk(2, -1)
        return [self._heads(attention, part).contiguous() for part in both]

    def _layer(self, layer, x, cache, position, memory, looks):
        """Map `[batch * beams, 1, width]` to the same shape, and extend the layer's cache."""
        own, cross = layer.self_attn, layer.multihead_attn
        projected = F.linear(x, own.in_proj_weight, own.in_proj_bias).chunk(3, -1)
        query, *new = (self._heads(own, part) for part in projected)
        for past, now in zip(cache, new, strict=True):
            past[:, :, position] = now[:, :, 0]
        keys, values = cache[..., : position + 1, :]
        context = F.scaled_dot_product_attention(query, keys, values)
        x = layer.norm1(x + own.out_proj(context.view_as(x)))
        width = x.shape[-1]
        query = F.linear(x, cross.in_proj_weight[:width], cross.in_proj_bias[:width])
        query = self._heads(cross, query.view(-1, self.beams, width))
        context = F.scaled_dot_product_attention(query, *memory, attn_mask=looks)
        x = layer.norm2(x + cross.out_proj(context.transpose(1, 2).reshape(x.shape)))
        return layer.norm3(x + layer.linear2(F.relu(layer.linear1(x))))


def make_training(model: TokenTransformer, settings: dict[str, Any], source, target) -> Callable:
    """Return `step(None) -> (None, loss)`."""
    inputs, labels = target[:, :-1].contiguous(), target[:, 1:].flatten()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05, fused=True)

    def compute() -> torch.Tensor:
        return F.cross_entropy(
            model(source, inputs).flatten(0, 1),
            labels,
            ignore_index=PAD,
            label_smoothing=settings["smoothing"],
        )

    if settings["contestant"].endswith("compiled"):
        compute = torch.compile(compute)

    def step(state: None) -> tuple[None, torch.Tensor]:
        optimizer.zero_grad()
        loss = compute()
        loss.backward()
        optimizer.step()
        return state, loss.detach()

    return step


def make_translation(model: TokenTransformer, settings: dict[str, Any], source) -> Callable:
    """Return `step(None) -> (None, mean score)`.

    Raises:
      ValueError: The log probabilities differ from those of the network without a cache.
    """
    decoder = Decoder(model.eval(), settings["beams"], settings["length"])

    def step(state: None) -> tuple[None, torch.Tensor]:
        with torch.inference_mode():
            return state, decoder(source)[1][:, 0].mean()

    with torch.no_grad():
        few = source[:4]
        tokens, scores = (found[:, 0] for found in decoder(few))
        log_probs = model(few, F.pad(tokens[:, :-1], (1, 0), value=START)).log_softmax(-1)
        expected = log_probs.gather(-1, tokens[..., None]).sum((1, 2))
    if not torch.allclose(scores, expected, rtol=1e-4):
        raise ValueError(f"log probabilities {scores.tolist()}; expected {expected.tolist()}")
    return step


def main(settings: dict[str, Any]) -> None:
    """Run as a contestant until standard input ends."""
    torch.manual_seed(0)
    # A warning of PyTorch's fast path for inference, which leaves out padding.
    warnings.filterwarnings("ignore", "The PyTorch API of nested tensors")
    model = TokenTransformer(settings)
    pairs = draw_pairs(settings["rows"], settings["length"], settings["vocabulary"])
    source, target = (torch.tensor(tokens) for tokens in pairs)
    start = time.perf_counter()
    try:
        if settings["mode"] == "train":
            step = make_training(model, settings, source, target)
            if settings["contestant"].endswith("compiled"):
                step(None)
        else:
            step = make_translation(model, settings, source)
            start = time.perf_counter()  # nothing is compiled
    except Exception as error:  # the compiler raises many types
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
        return
    facts = {
        "compile_seconds": time.perf_counter() - start,
        "parameters": sum(p.numel() for p in model.parameters()),
        "versions": {"torch": torch.__version__},
    }
    serve_steps(facts, step, None, lambda state: None, peak_host_bytes)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
