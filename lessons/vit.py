"""ViT: a list of patches is enough, and what lies where is learned from the data.

Follows figure 7 (filters, position embeddings, attention distance) and section 3.2 (another image
size) of Dosovitskiy et al., "An Image is Worth 16x16 Words" (arXiv:2010.11929). The attention
rollout is that of Abnar and Zuidema (arXiv:2005.00928). Here, a ViT with four blocks trains from
random weights on photographs of 64 pixels, instead of ViT-L pre-trained at 224 pixels.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from netzoo import inspection, teaching
from netzoo.models.positions import resize_position_embedding
from netzoo.models.vit import Variant, ViT
from netzoo.teaching import Claim, Numbers, Setting, bars, label, lines, panels, picture, tiles

SOURCE = "tfds:tf_flowers"
GRID, LARGER = 8, 12  # patches of a side in training, and on larger images
AS_LIST = np.append(0, 1 + np.arange(LARGER**2) * GRID**2 // LARGER**2)  # after the class token
ROWS, COLUMNS = (abs(x[:, None] - x) for x in np.indices((GRID, GRID)).reshape(2, -1))
DISTANCES = np.hypot(ROWS, COLUMNS)  # of all pairs of patches
TIMES = ("before training", "after training")
ORDERS = ("random", "centre first", "rollout")  # of the pixels to delete
IMAGES = ("in order", "shuffled", "larger, positions in 2-D", "larger, positions as a list")


def measure(setting: Setting) -> Numbers:
    """Train a ViT with each seed, and look inside before and after."""
    variant = setting.choose(Variant(96, 4, 192, 4, patch=8), Variant(24, 2, 24, 2, patch=4))
    pictures = setting.pictures(GRID * variant.patch)
    large = setting.pictures(LARGER * variant.patch, train=1).validation
    model = ViT(variant, pictures.num_classes, dropout_rate=0.0)
    images, labels, rng = pictures.validation, pictures.validation_labels, np.random.default_rng(0)
    shuffled = np.stack([tiles(rng.permutation(cut(image)), GRID, gap=0) for image in images])
    right = [teaching.evaluator(model, x, labels) for x in (images, shuffled, large)]
    few = images[:: setting.choose(15, 25)]
    found: list[Numbers] = []
    for seed in range(setting.choose(3, 1)):
        before = teaching.initial_variables(model, images, seed)
        steps = setting.choose(800, 10)
        after = teaching.fit(model, pictures, steps=steps, optimizer=2e-3, seed=seed).variables
        scores = [right[0](after), right[1](after)]
        learned = np.asarray(after["params"]["position_embedding"])
        in_2d = resize_position_embedding(learned, (LARGER, LARGER), other_tokens=1)
        for positions in (in_2d, learned[:, AS_LIST]):
            params = {**after["params"], "position_embedding": positions}
            scores.append(right[2]({"params": params}))
        numbers = {"accuracy": np.array([score["accuracy"] for score in scores])}
        for time, variables in zip(TIMES, (before, after), strict=True):
            predictor = teaching.predictor(model, variables, pictures, batch_size=17)
            numbers[f"filters {time}"] = inspection.kernel_components(variables)
            numbers[f"similarity {time}"] = inspection.position_similarity(variables)
            numbers[f"reach {time}"] = inspection.attention_distance(predictor, few)
        maps = inspection.attention_map(predictor, few)
        centre = -np.hypot(*(np.indices(maps.shape[1:]) - maps.shape[1] / 2))
        orders = rng.random(maps.shape), centre + 0 * maps, maps
        for name, order in zip(ORDERS, orders, strict=True):
            curves = inspection.deletion_and_insertion(predictor, few, order, steps=16)
            numbers[name] = curves.deletion.mean(0)
        found.append(numbers | {"maps": maps[:3]})
    numbers = {name: np.stack([numbers[name] for numbers in found]) for name in found[0]}
    return numbers | {"images": few[:3], "shuffled image": shuffled[0]}


def cut(image: np.ndarray) -> np.ndarray:
    """Return the patches `[patches, patch, patch, 3]` of an image, row by row."""
    patch = len(image) // GRID
    return image.reshape(GRID, patch, GRID, patch, 3).swapaxes(1, 2).reshape(-1, patch, patch, 3)


def claims(numbers: Mapping[str, np.ndarray]) -> list[Claim]:
    """Judge the numbers."""
    alike = numbers["similarity after training"].reshape(-1, GRID**2, GRID**2)
    far, straight = DISTANCES == 5, (ROWS == 0) | (COLUMNS == 0)
    reach_before, reach = (numbers[f"reach {time}"] for time in TIMES)
    smooth = [
        (f[..., 1:, :] * f[..., :-1, :]).mean((1, 2, 3, 4)) / (f**2).mean((1, 2, 3, 4))
        for f in (numbers[f"filters {time}"] for time in reversed(TIMES))
    ]
    accuracy = numbers["accuracy"].T
    rows = [  # claim, text, and for each seed two numbers: the first must be larger by a margin
        ("Shuffling the patches costs 2 points of accuracy or more.",
         "The accuracy falls from {:.1%} to {:.1%}.", *accuracy[:2], 0.02),
        ("Neighbouring patches get similar position embeddings.",
         "Their cosine similarity is {:.2f}, and {:.2f} from a distance of 4 patches on.",
         alike[:, DISTANCES == 1].mean(1), alike[:, DISTANCES >= 4].mean(1), 0),
        ("The position embeddings show rows and columns.",
         "At a distance of 5, the similarity is {:.2f} in a row or column, and {:.2f} elsewhere.",
         alike[:, far & straight].mean(1), alike[:, far & ~straight].mean(1), 0),
        ("The main components of the filters become smooth patterns.",
         "Neighbouring pixels correlate by {:.2f}, and by {:z.2f} before training.", *smooth, 0),
        ("In the first block, the distances of the heads come to differ by 4 pixels or more.",
         "Their distances differ by {:.1f} pixels, and by {:.1f} before training.",
         np.ptp(reach[:, 0], 1), np.ptp(reach_before[:, 0], 1), 4),
        ("Later blocks look farther, by 4 pixels or more.",
         "The mean distance is {:.1f} pixels in the last block and {:.1f} in the first.",
         reach[:, -1].mean(1), reach[:, 0].mean(1), 4),
        ("The rollout finds the pixels that matter.",
         "Deletion leaves a mean probability of {:.3f} in random order, and of {:.3f} in the order "
         "of the rollout.", numbers["random"].mean(1), numbers["rollout"].mean(1), 0),
        ("On larger images, interpolating the positions in 2-D gains 2 points or more.",
         "The accuracy is {:.1%}, and {:.1%} with a list that is stretched.", *accuracy[2:], 0.02),
    ]  # fmt: skip
    return [
        Claim(claim, text.format(more.mean(), less.mean()), teaching.verdict(more - less - margin))
        for claim, text, more, less, margin in rows
    ]


def draw(numbers: Mapping[str, np.ndarray]) -> dict[str, Figure]:
    """Draw position embeddings, patches, filters with attention distance, and the rollout."""
    positions, axes = panels("A ViT learns where patches lie", [*TIMES, "by distance"])
    title = "The main filters become smooth, but all heads still look everywhere"
    inside, below = panels(title, [*TIMES, "attention distance of the heads"])
    similar, far = {}, {}
    for column, time in enumerate(TIMES):
        maps = numbers[f"similarity {time}"].reshape(-1, GRID**2, GRID**2)
        image = picture(axes[column], tiles(maps[0].reshape(-1, GRID, GRID), GRID), vmin=-0.5)
        rings = [maps[:, DISTANCES.round() == d].mean(1) for d in range(GRID)]
        similar[time] = np.stack(rings, axis=1)
        filters = numbers[f"filters {time}"][0]
        picture(below[column], tiles(0.5 + 0.5 * filters / abs(filters).max(), 7, fill=1))
        reach = numbers[f"reach {time}"]
        far[time] = reach.swapaxes(1, 2).reshape(-1, reach.shape[1])
    positions.colorbar(image, ax=axes[1], shrink=0.8)
    lines(axes[2], np.arange(GRID), similar)
    label(axes[2], "distance in patches", "cosine similarity")
    lines(below[2], np.arange(reach.shape[1]) + 1, far)
    below[2].axhline(DISTANCES.mean() * len(filters[0]), color=teaching.COLORS[-1], linewidth=1)
    below[2].set(xticks=np.arange(reach.shape[1]) + 1, ylim=(0, None))
    label(below[2], "block (line: all patches alike)", "distance in pixels")

    patches, axes = panels("Order hardly matters to this ViT", ["patches", "shuffled", "accuracy"])
    for place, image in zip(axes, (numbers["images"][0], numbers["shuffled image"]), strict=False):
        picture(place, tiles(cut(image) / 255, GRID, fill=1))
    bars(axes[2], dict(zip(IMAGES, 100 * numbers["accuracy"].T, strict=True)), digits=0)
    label(axes[2], "right, %", "", legend=False)

    names = [*3 * ["photograph"], "deleting pixels", *3 * ["rollout"]]
    rollout, axes = panels("The rollout marks pixels that matter", names, columns=4)
    for column, (image, heat) in enumerate(zip(numbers["images"], numbers["maps"][0], strict=True)):
        picture(axes[column], image)
        picture(axes[column + 4], inspection.overlay(image, heat))
    lines(axes[3], np.linspace(0, 100, 17), {name: numbers[name] for name in ORDERS})
    label(axes[3], "deleted pixels, %", "probability of the class")
    return {"positions": positions, "patches": patches, "inside": inside, "rollout": rollout}
