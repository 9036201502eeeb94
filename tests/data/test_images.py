"""The pipeline: order, determinism, resuming, exactness of evaluation, caches."""

import itertools

import numpy as np
import pytest

from netzoo.data import (
    Augmentation,
    CachedSource,
    EvalBatches,
    ImageError,
    TrainBatches,
    with_cache,
)
from netzoo.data.batching import generator

FULL = Augmentation((0.5, 1.0), (3 / 4, 4 / 3), True, 2, 9.0)
PLAIN = Augmentation((1.0, 1.0), (3 / 4, 4 / 3), False, 0, 0.0)


def take(dataset, count):
    return list(itertools.islice(iter(dataset), count))


def digest(batches):
    return [(b["image"].tobytes(), b["label"].tobytes()) for b in batches]


def make(source, **changes):
    settings = {"batch_size": 4, "image_size": 8, "seed": 5, "augmentation": FULL, **changes}
    return TrainBatches(source, **settings)


def identities(batches):
    """Return the example of each row: with PLAIN, pixels equal the example index."""
    return np.concatenate([b["image"][:, 0, 0, 0] for b in batches])


@pytest.mark.parametrize("seed", [3, 2**64 - 1])
def test_generator_is_philox_at_a_position(seed):
    """A run of another version continues with the same random numbers."""
    philox = np.random.Philox(key=np.array([seed, 2], np.uint64), counter=[0, 1, 5, 7])
    rng = generator(seed, stream=2, epoch=5, index=7, copy=1)
    np.testing.assert_array_equal(rng.random(9), np.random.Generator(philox).random(9))


def test_batch_contract(memory_source):
    """Batches have the shapes and dtypes of the compiled step."""
    (batch,) = take(make(memory_source(10)), 1)
    assert batch["image"].shape == (4, 8, 8, 3) and batch["image"].dtype == np.uint8
    assert batch["label"].shape == (4,) and batch["label"].dtype == np.int32
    assert set(batch) == {"image", "label"}


def test_epochs_cover_without_repetition(memory_source):
    """An epoch has each example at most once, with its label, in a new order."""
    batches = take(make(memory_source(23), augmentation=PLAIN), 15)
    epochs = [identities(batches[start : start + 5]) for start in (0, 5, 10)]
    for seen in epochs:
        assert len(set(seen)) == 20
    np.testing.assert_array_equal(
        np.concatenate([b["label"] for b in batches]), np.concatenate(epochs) % 2
    )
    assert not np.array_equal(epochs[0], epochs[1]) and not np.array_equal(epochs[1], epochs[2])
    # The remainder differs between epochs, so every example is used.
    assert set(np.concatenate(epochs)) == set(range(23))


def test_seed_decides_everything(memory_source):
    """Equal seeds give equal batches; other seeds give another order."""
    source = memory_source(16)
    assert digest(take(make(source), 9)) == digest(take(make(source), 9))
    orders = [identities(take(make(source, seed=s, augmentation=PLAIN), 8)) for s in range(3)]
    # The order also differs from that of the next seed one epoch later.
    assert len({order[:16].tobytes() for order in orders} | {o[16:].tobytes() for o in orders}) == 6


# Means of red, green and blue in the quarters of four augmented images.
GOLDEN_LABELS = [1, 1, 1, 0]
GOLDEN_MEANS = [
    [120, 107, 112, 104, 151, 155, 165, 144, 68, 153, 134, 140],
    [119, 139, 137, 114, 139, 111, 132, 122, 80, 112, 123, 126],
    [140, 144, 150, 86, 93, 121, 135, 88, 120, 120, 126, 114],
    [24, 30, 30, 27, 21, 34, 26, 26, 25, 23, 22, 35],
]


class DrawnSource:
    """Eight images of coloured squares, as pixels."""

    name, split, class_names = "drawn", "train", ("even", "odd")
    images = np.random.default_rng(7).integers(0, 256, (8, 6, 8, 3), np.uint8)

    def __len__(self):
        return 8

    def __getitem__(self, index):
        pixels = self.images[index].repeat(10, axis=0).repeat(10, axis=1)
        return {"image": pixels, "label": index % 2, "name": f"drawn {index}"}


def test_augmented_pixels_have_not_changed():
    """Pins the random stream and the order of crop, flip and operations at a fixed seed.

    It compares means of quarters instead of a hash, because OpenCV builds differ by one level in
    rounding. Different random numbers change most means by ten or more.
    """
    (batch,) = take(make(DrawnSource(), image_size=32), 1)
    assert batch["label"].tolist() == GOLDEN_LABELS
    means = batch["image"].reshape(4, 2, 16, 2, 16, 3).mean((2, 4)).reshape(4, 12)
    np.testing.assert_allclose(means, GOLDEN_MEANS, atol=1.5)


@pytest.mark.parametrize("threads", [0, 1, 3, 8])
def test_threads_change_nothing(memory_source, threads):
    """The number of threads does not change the data."""
    source = memory_source(16)
    assert digest(take(make(source, num_threads=threads), 9)) == digest(take(make(source), 9))


def test_augmentation_differs_between_epochs_and_examples(flowers):
    """An example looks different in each epoch."""
    from netzoo.data import open_source

    source = open_source(f"folder:{flowers}", "train[:1]")
    batches = take(make(source, batch_size=1), 12)
    assert len({b["image"].tobytes() for b in batches}) > 8


def test_equal_pictures_look_different_in_an_epoch():
    """Each example of an epoch has its own crop, mirroring and operations."""
    source = DrawnSource()
    source.images = source.images[:1].repeat(8, axis=0)
    batches = take(make(source, image_size=32), 4)
    epochs = [np.concatenate([b["image"] for b in batches[first : first + 2]]) for first in (0, 2)]
    for images in epochs:
        assert len({image.tobytes() for image in images}) == 8
    assert not {x.tobytes() for x in epochs[0]} & {x.tobytes() for x in epochs[1]}


def test_augmentation_belongs_to_the_example_not_the_batch(memory_source):
    """The batch size does not change the augmentation of an example in an epoch."""
    source = memory_source(16, height=20)

    def images(batch_size, steps):
        batches = take(make(source, batch_size=batch_size), steps)
        return np.concatenate([b["image"] for b in batches])

    np.testing.assert_array_equal(images(4, 4), images(8, 2))


@pytest.mark.parametrize("repeats", [2, 3, 8])
def test_repeated_augmentation(memory_source, repeats):
    """An epoch has the same number of batches but fewer images, each several times in a row.

    With 3 copies and batches of 8, the copies of an image may be in neighbouring batches.
    """
    settings = {"batch_size": 8, "repeats": repeats}
    source = memory_source(26)
    epochs = identities(take(make(source, augmentation=PLAIN, **settings), 6)).reshape(2, 24)
    for epoch, order in enumerate(epochs):
        first = identities(take(make(source, augmentation=PLAIN, batch_size=26), 2))[26 * epoch :]
        np.testing.assert_array_equal(order, first.repeat(repeats)[:24])
    assert not np.array_equal(*epochs)


def test_copies_are_augmented_differently():
    """Copies differ, and the first one is the image without repetition."""
    source, settings = DrawnSource(), {"image_size": 32, "batch_size": 8}
    images = np.concatenate([b["image"] for b in take(make(source, repeats=4, **settings), 2)])
    assert len({image.tobytes() for image in images}) == 16
    once = [batch["image"] for batch in take(make(source, **settings), 2)]
    for epoch in range(2):
        np.testing.assert_array_equal(images[8 * epoch :: 4][:2], once[epoch][:2])


def test_the_epoch_decides_the_image_size(memory_source):
    """An epoch between two entries has the earlier one's size; a restored position has its own."""
    batches = make(memory_source(16), image_sizes=((1, 12), (3, 6)))
    sizes = [batch["image"].shape for batch in take(batches, 20)]
    assert sizes == [(4, side, side, 3) for side in (8, 12, 12, 6, 6) for _ in range(4)]
    expected = digest(take(make(memory_source(16), image_size=12), 12))[4:]
    iterator = iter(batches)
    iterator.set_state({"next_index": 4})
    assert digest(itertools.islice(iterator, 8)) == expected


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("stop", [0, 1, 4, 7])
def test_resume_continues_exactly(memory_source, stop, repeats):
    """A restored position continues with the same batches as an uninterrupted run."""
    source = memory_source(16)
    whole = digest(take(make(source, repeats=repeats), 12))
    iterator = iter(make(source, repeats=repeats))
    for _ in range(stop):
        next(iterator)
    state = iterator.get_state()
    assert state == {"next_index": stop}
    resumed = iter(make(source, num_threads=1, repeats=repeats))
    resumed.set_state(state)
    assert digest(itertools.islice(resumed, 12 - stop)) == whole[stop:]


def test_position_travels_through_orbax(memory_source, tmp_path):
    """The iterator saves and restores beside the weights, by Grain's checkpoint handler."""
    orbax = pytest.importorskip("orbax.checkpoint")
    import grain.checkpoint

    source = memory_source(16)
    iterator, resumed = iter(make(source)), iter(make(source))
    for _ in range(5):
        next(iterator)
    with orbax.CheckpointManager(tmp_path) as manager:
        save = orbax.args.Composite(data=grain.checkpoint.CheckpointSave(iterator))
        manager.save(1, args=save)
        manager.wait_until_finished()
        restore = orbax.args.Composite(data=grain.checkpoint.CheckpointRestore(resumed))
        manager.restore(1, args=restore)
    assert digest(itertools.islice(resumed, 3)) == digest(itertools.islice(iterator, 3))


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_the_same_batch(memory_source, count, repeats):
    """The rows of all hosts equal the batch of a single host."""
    source = memory_source(16)
    whole = take(make(source, repeats=repeats), 6)
    parts = [take(make(source, repeats=repeats, shard=(index, count)), 6) for index in range(count)]
    for step, batch in enumerate(whole):
        joined = np.concatenate([part[step]["image"] for part in parts])
        np.testing.assert_array_equal(joined, batch["image"])


@pytest.mark.parametrize("batch_size", [1, 7, 32, 50])
@pytest.mark.parametrize("threads", [1, 3])
def test_evaluation_is_exact(memory_source, batch_size, threads):
    """Every example occurs once, in order, for any batch size; the rest is masked zeros."""
    source = memory_source(50)
    batches = EvalBatches(source, batch_size=batch_size, image_size=8, num_threads=threads)
    for _ in range(2):  # it can be iterated again
        found = list(batches)
        assert len(found) == len(batches) == -(-50 // batch_size)
        mask = np.concatenate([b["mask"] for b in found])
        images = np.concatenate([b["image"] for b in found])
        assert {b["image"].shape for b in found} == {(batch_size, 8, 8, 3)}
        assert mask.dtype == bool and mask.sum() == 50 and mask[:50].all()
        np.testing.assert_array_equal(images[mask][:, 4, 4, 0], np.arange(50))
        labels = np.concatenate([b["label"] for b in found])
        np.testing.assert_array_equal(labels[mask], np.arange(50) % 2)
        assert not images[~mask].any() and not labels[~mask].any()


def test_padding_is_zero_in_used_memory(memory_source, monkeypatch):
    """Rows without an example are zeros, whatever the memory of the batch has held."""
    empty = np.empty

    def used(*args, **options):
        array = empty(*args, **options)
        array[...] = 7
        return array

    monkeypatch.setattr(np, "empty", used)
    batch = EvalBatches(memory_source(5), batch_size=4, image_size=8)[1]
    assert batch["mask"].tolist() == [True, False, False, False]
    assert (batch["image"][0] == 4).all() and not batch["image"][1:].any()


def test_evaluation_over_processes(memory_source):
    """Hosts divide the last, incomplete batch without losing or repeating examples."""
    source = memory_source(10)
    seen = []
    for index in range(4):
        for batch in EvalBatches(source, batch_size=8, image_size=8, shard=(index, 4)):
            assert batch["image"].shape == (2, 8, 8, 3)
            seen += batch["image"][batch["mask"]][:, 0, 0, 0].tolist()
    assert sorted(seen) == list(range(10))


@pytest.mark.parametrize("cache", ["encoded", "decoded"])
def test_caches_change_no_byte_and_read_once(memory_source, cache):
    """A cache does not change batches, and reads each example once in three epochs."""
    source = memory_source(16)
    expected = digest(take(make(memory_source(16)), 12))
    assert digest(take(make(with_cache(source, cache), num_threads=1), 12)) == expected
    assert source.reads == 16


def test_cache_can_be_shared(memory_source):
    """Training and evaluation share the memory of one wrapper."""
    source = memory_source(16)
    shared = CachedSource(source, "decoded")
    list(EvalBatches(shared, batch_size=8, image_size=8, num_threads=1))
    take(make(shared), 8)
    assert source.reads == 16


def test_cache_mode_is_checked(memory_source):
    """A cached source is not wrapped again; a misspelt mode is an error."""
    shared = CachedSource(memory_source(16), "decoded")
    assert with_cache(shared, "decoded") is shared
    with pytest.raises(ValueError, match="decoded"):
        with_cache(shared, "decode")


def test_a_batch_larger_than_the_data_fails_at_once(memory_source):
    """The error occurs at construction, not at the first batch."""
    with pytest.raises(ValueError, match="larger than the 16 examples"):
        make(memory_source(16), batch_size=17)


def test_a_bad_image_is_named(flowers):
    """An error in a reader thread reaches the trainer and names the file."""
    from netzoo.data import open_source

    victim = flowers / "roses" / "0009.jpg"
    victim.write_bytes(victim.read_bytes()[:-100])
    source = open_source(f"folder:{flowers}", "train")
    with pytest.raises(ImageError, match=r"roses/0009\.jpg"):
        take(make(source), 5)


def test_measuring_counts_images(memory_source):
    """The documented speeds count images, not batches."""
    from benchmarks.input_pipeline import measure

    rate, cost = measure(make(memory_source(16)), seconds=0.05)
    assert rate > 0 and cost > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size 0; expected a multiple of 1"),
        ({"batch_size": 4, "shard": (0, 3)}, "batch_size 4; expected a multiple of 3"),
        ({"shard": (2, 2)}, r"shard \(2, 2\); expected"),
        ({"shard": (0, 0)}, r"shard \(0, 0\); expected"),
        ({"image_size": 0}, "image_size 0"),
    ],
)
def test_numbers_out_of_range_are_refused_at_once(changes, message, memory_source):
    """Protects from empty batches, lost rows and errors of a thread, in training and evaluation."""
    settings = {"batch_size": 4, "image_size": 8, **changes}
    with pytest.raises(ValueError, match=message):
        EvalBatches(memory_source(16), **settings)
    with pytest.raises(ValueError, match=message):
        make(memory_source(16), **settings)


def test_a_batch_has_at_least_one_copy(memory_source):
    """Protects from a division by zero in a thread."""
    with pytest.raises(ValueError, match="repeats 0; expected at least 1"):
        make(memory_source(16), repeats=0)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_out_of_range_are_refused_at_once(seed, memory_source):
    """Protects from an error of the random numbers in a thread."""
    with pytest.raises(ValueError, match=f"seed {seed}; expected"):
        make(memory_source(16), seed=seed)
