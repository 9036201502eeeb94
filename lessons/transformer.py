"""Transformer: attention alone translates, once it knows the order and its products are scaled.

Follows the attention maps of the appendix, footnote 4 and sections 3.5 and 6.1 of Vaswani et al.,
"Attention Is All You Need" (arXiv:1706.03762). Here, networks of 2 + 2 blocks translate numbers to
English words and back. All pairs shown are validation pairs. `--source RUN` shows the weights of
a trained run of yours instead, such as one on Multi30k.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from netzoo.teaching import Claim, Numbers, Setting, label, lines, maps, panels, smooth, verdict
from netzoo.teaching.sentences import Sentences, entropy

SOURCE = "number_words"
SCALINGS, TIMES = ("scaled", "unscaled"), ("untrained", "trained")
STEPS, BEAMS, SIZES = 300, (1, 2, 4, 8, 16), 2 ** np.arange(11)  # of heads; 64 in the paper
LOOKS = "looks at (black: with all its attention)"
KINDS = {
    "encoder": ("Each head of the encoder relates the words in its own way", "the encoder reads"),
    "decoder": ("The decoder looks only at what it has already written", "the decoder writes"),
    "cross": ("Attention to the source moves along with the translation", "the decoder writes"),
}


def measure(setting: Setting) -> Numbers:
    """Look at scaling, heads and order; in the full form, train, and translate with beams."""
    sentences = Sentences(setting)
    start = sentences.initial_variables()
    networks = {"untrained": start, "unscaled": sentences.without_scaling(start)}
    numbers = products()
    if not setting.quick:  # seconds of training show nothing
        fits = [sentences.fit(STEPS, seed, watch=sentences.bleu) for seed in range(3)]
        changed = [sentences.fit(STEPS, s, change=sentences.without_scaling) for s in range(3)]
        numbers["loss/scaled"] = np.stack([fit.loss for fit in fits])
        numbers["loss/unscaled"] = np.stack([fit.loss for fit in changed])
        numbers |= {f"course/{x}": np.stack([fit.watched[x] for fit in fits]) for x in ("1", "4")}
        finals = [sentences.trained] if sentences.trained else [fit.variables for fit in fits]
        numbers["bleu"] = np.array([[*sentences.bleu(x, BEAMS).values()] for x in finals])
        networks["trained"] = finals[0]
    for name, network in networks.items():
        for kind, heads in sentences.attention(network).items():
            numbers[f"looked at/{kind}/{name}"] = heads.looked_at()  # [blocks, heads]
            numbers[f"difference/{kind}/{name}"] = heads.difference()  # [blocks]
            numbers[f"follows/{kind}/{name}"] = heads.follows()  # [blocks, heads]
            numbers |= {f"{x}/{kind}": getattr(heads, x) for x in ("longest", "rows", "columns")}
    for name in ("with", "without"):
        found = sentences.reorder(network, positions=name == "with")
        numbers |= {f"change/{name}": found.change, f"cosines/{name}": found.cosines}
        numbers |= {"order/rows": found.rows, "order/columns": found.columns}
    return numbers


def products() -> Numbers:
    """Return what the softmax over 32 random keys does, by the size of the head."""
    rng, found = np.random.default_rng(0), []
    for size in SIZES:
        queries, keys = rng.normal(size=(200, 1, size)), rng.normal(size=(200, size, 32))
        for scale in (size**-0.5, 1):
            shares = np.exp((queries @ keys)[:, 0] * scale)
            shares /= shares.sum(-1, keepdims=True)
            jacobians = shares[:, :, None] * (np.eye(32) - shares[:, None])
            gradients = np.linalg.norm(jacobians, axis=(1, 2))
            found += [np.median(2 ** entropy(shares)), np.median(gradients)]
    names = ("keys/scaled", "gradient/scaled", "keys/unscaled", "gradient/unscaled")
    return dict(zip(names, np.reshape(found, (-1, 4)).T, strict=True))


def claims(numbers: Mapping[str, np.ndarray]) -> list[Claim]:
    """Judge the numbers; the quick form has only those that need no training."""
    bare, told = numbers["change/without"], numbers["change/with"]
    on, off = (numbers[f"gradient/{x}"][[6, 9]] for x in SCALINGS)  # of heads of 64 and 512
    found = [
        (
            "Attention sees no order unless positions are encoded (section 3.5).",
            f"The outputs of shuffled words change by {bare:.0e}, and by {told:.0%} with encoding.",
            1e-5 - bare if told > 0.01 else -1,
        ),
        (
            "Without scaling, the softmax of large heads has tiny gradients (section 3.2.1).",
            f"The median gradient is {off[0]:.2f} instead of {on[0]:.2f} for heads of 64, and "
            f"{off[1]:.3f} instead of {on[1]:.3f} for heads of 512.",
            on - off,
        ),
    ]
    if "bleu" in numbers:
        on, off = (numbers[f"loss/{x}"][:, -30:].mean(1) for x in SCALINGS)
        few, differ = (
            [
                np.concatenate([numbers[f"{fact}/{kind}/{x}"].ravel() for kind in KINDS])
                for x in TIMES
            ]
            for fact in ("looked at", "difference")
        )
        greedy, beam = numbers["bleu"][:, BEAMS.index(1)], numbers["bleu"][:, BEAMS.index(4)]
        found += [
            (
                "Scaling makes training faster.",
                f"The loss ends at {on.mean():.2f} with scaling and {off.mean():.2f} without.",
                off - on,
            ),
            (
                "Heads learn to look at few tokens, and each at others (section 4).",
                f"They look at {few[1].mean():.1f} tokens instead of {few[0].mean():.1f}, and "
                f"differ by {differ[1].mean():.2f} bits instead of {differ[0].mean():.2f}.",
                np.append(few[0] - few[1], differ[1] - differ[0]),
            ),
            (
                "A beam of 4 translates better than greedy search (section 6.1).",
                f"BLEU is {beam.mean():.1f} with the beam and {greedy.mean():.1f} without.",
                beam - greedy,
            ),
        ]
    return [Claim(claim, measured, verdict(margin)) for claim, measured, margin in found]


def draw(numbers: Mapping[str, np.ndarray]) -> dict[str, Figure]:
    """Draw maps of the heads and of the order, and curves of scaling and beams."""
    figures = {}
    for kind, (title, rows) in KINDS.items():
        blocks, heads, *shape = numbers[f"longest/{kind}"].shape
        names = [f"block {b + 1}, head {h + 1}" for b in range(blocks) for h in range(heads)]
        texts = numbers[f"rows/{kind}"], numbers[f"columns/{kind}"]
        weights = numbers[f"longest/{kind}"].reshape(-1, *shape)
        figures[kind] = maps(title, weights, names, *texts, per_row=heads, x=LOOKS, y=rows)
    cosines = np.clip([numbers["cosines/with"], numbers["cosines/without"]], 0, 1)
    title = "Without position encoding, equal words have equal outputs, wherever they stand"
    names, texts = ["with encoding", "without"], (numbers["order/rows"], numbers["order/columns"])
    figures["order"] = maps(title, cosines, names, *texts, x="shuffled", y="in order")
    title = "Scaling keeps the softmax soft and its gradient large"
    names = ["keys that a query looks at", "gradient of the softmax", "training"]
    figures["scaling"], grid = panels(title, names[: 3 if "bleu" in numbers else 2])
    for axes, key, unit in zip(grid, ("keys", "gradient"), ("keys of 32", "norm"), strict=False):
        lines(axes, SIZES, {name: numbers[f"{key}/{name}"] for name in SCALINGS})
        axes.set_xscale("log", base=2)
        label(axes, "size of a head", unit)
    if "bleu" not in numbers:
        return figures
    lines(grid[2], np.arange(STEPS), {x: smooth(numbers[f"loss/{x}"], 10) for x in SCALINGS})
    label(grid[2], "step", "loss")
    title = "A beam helps a network that is often unsure; a wide one adds little"
    figures["beam"], grid = panels(title, ["after training", "during training"])
    lines(grid[0], np.array(BEAMS, str), {"BLEU": numbers["bleu"]}, marker="o")
    label(grid[0], "size of the beam", "BLEU", legend=False)
    curves = {f"beam of {x}": numbers[f"course/{x}"] for x in ("1", "4")}
    lines(grid[1], np.linspace(0, STEPS, 4), curves, marker="o")
    label(grid[1], "steps", "BLEU")
    return figures
