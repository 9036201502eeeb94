"""What `netzoo check` has found, as JSON and as tables."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from netzoo.console import print_table, say
from netzoo.data.duplicates import Pair
from netzoo.data.examine import Examined
from netzoo.data.source import Source

_MOST_CLASSES = 40
_IMBALANCED = 3.0


class Report:
    """The contents and the problems of a data set."""

    def __init__(
        self, spec: str, sources: Sequence[Source], images: Sequence[Examined], pairs: list[Pair]
    ):
        """Summarise the examined images of the splits `sources`, and the pairs among them."""
        self.spec, self.class_names = spec, sources[0].class_names
        self.splits = [source.split for source in sources]
        self.images = len(images)
        self.corrupt = [image for image in images if image.problem is not None]
        self.readable = [image for image in images if image.problem is None]
        self.pairs = pairs
        counts = Counter((im.split, label) for im in self.readable for label in im.classes)
        self.counts = {
            split: [counts[split, label] for label in range(len(self.class_names))]
            for split in self.splits
        }

    @property
    def across(self) -> int:
        """The number of pairs across splits."""
        return sum(pair.first_split != pair.second_split for pair in self.pairs)

    @property
    def contradicting(self) -> int:
        """The number of pairs with different classes."""
        return sum(pair.contradicting for pair in self.pairs)

    @property
    def problems(self) -> int:
        """The number of corrupt images, and of pairs across splits or with two classes."""
        bad = (pair.contradicting or pair.first_split != pair.second_split for pair in self.pairs)
        return len(self.corrupt) + sum(bad)

    def sizes(self) -> dict[str, list[float]]:
        """Return the smallest, median and largest width and height in pixels."""
        if not self.readable:
            return {}
        sides = np.array([image.size for image in self.readable])
        three = [sides.min(0), np.median(sides, axis=0), sides.max(0)]
        named = zip(("width", "height"), np.transpose(three), strict=True)
        return {name: values.tolist() for name, values in named}

    def values(self) -> dict[str, Any]:
        """Return everything as JSON-serialisable values."""
        return {
            "source": self.spec,
            "images": self.images,
            "bytes": sum(image.bytes for image in self.readable),
            **self.sizes(),
            "classes": {
                split: dict(zip(self.class_names, counts, strict=True))
                for split, counts in self.counts.items()
            },
            "corrupt": [image.problem for image in self.corrupt],
            "duplicates": [pair._asdict() for pair in self.pairs],
            "problems": self.problems,
        }


def show(report: Report) -> None:
    """Print tables of the classes and of the duplicates, and a few lines."""
    _show_classes(report)
    for name, (low, middle, high) in report.sizes().items():
        say(f"{name} {low:.0f} to {high:.0f} pixels, median {middle:.0f}")
    size = sum(image.bytes for image in report.readable) / 2**20
    say(f"{report.images:,} images of {report.spec}, {size:,.1f} MiB")
    for image in report.corrupt:
        say(str(image.problem))
    for split in report.splits:
        bad = sum(image.split == split for image in report.corrupt)
        number = bad + sum(image.split == split for image in report.readable)
        say(f"{bad:,} of {number:,} images of {report.spec} {split} are corrupt")
    if report.pairs:
        head = ("distance", "first", "second", "class", "class of the second")
        print_table(head, _pair_rows(report.pairs), right=("distance",))
    identical = sum(pair.distance < 0 for pair in report.pairs)
    say(
        f"{identical:,} identical pairs, {len(report.pairs) - identical:,} near pairs; "
        f"{report.across:,} across splits, {report.contradicting:,} with two classes"
    )


def _show_classes(report: Report) -> None:
    totals = np.sum([*report.counts.values()], axis=0)
    chosen = np.argsort(totals, kind="stable")[:_MOST_CLASSES]
    rows = [
        (report.class_names[label], *(f"{counts[label]:,}" for counts in report.counts.values()))
        for label in sorted(chosen)
    ]
    left_out = len(totals) - len(chosen)
    caption = f"the {len(chosen)} rarest of {len(totals):,} classes" if left_out else ""
    print_table(("class", *report.splits), rows, right=report.splits, caption=caption)
    split, counts = next(iter(report.counts.items()))  # the training split, unless others are named
    if (rarest := min(counts)) and max(counts) > _IMBALANCED * rarest:
        say(
            f"in {split}, the most frequent class has {max(counts) / rarest:.1f} times as many "
            "images as the rarest one; see train.balance"
        )


def _pair_rows(pairs: Sequence[Pair]) -> Iterator[tuple[str, ...]]:
    for pair in pairs:
        yield (
            *("identical" if pair.distance < 0 else str(pair.distance), pair.first, pair.second),
            *(pair.first_class, pair.second_class if pair.contradicting else "same"),
        )
