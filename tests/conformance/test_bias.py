"""Every bias: a lazy view with other pixels and another fingerprint; ids, labels and the given data unchanged."""

import numpy as np
import pytest
from stress_fixtures import build, digits, global_state_kept

from kintsugi.core.randomness import numpy_rng
from kintsugi.core.registry import of_kind
from kintsugi.data.imageset import ImageSet
from kintsugi.data.source import ArraySource

BIASES = [pytest.param(entry, id=entry.card.name) for entry in of_kind("bias")]


class Watched(ArraySource):
    """Counts what is read."""

    reads = 0

    def read(self, row):
        self.reads += 1
        return super().read(row)

    def gather(self, rows):
        self.reads += len(rows)
        return super().gather(rows)


def watched(n=30, side=24):
    plain = digits(n)
    image = np.kron(plain.source.image, np.ones((1, side // 8, side // 8, 1), dtype=np.uint8))
    return ImageSet(Watched(image), plain.table, plain.classes)


def pixels(data):
    return np.concatenate([image for _, image in data.stream(7)])


@pytest.mark.parametrize("entry", BIASES)
def test_a_lazy_view_of_the_same_samples(entry):
    data = watched()
    before, fingerprint = data.source.image.copy(), data.fingerprint
    with global_state_kept():
        made = build(entry)(data, numpy_rng(0))
    assert data.source.reads == 0, "pixels were read before anybody asked for them"
    assert made.ids == data.ids
    assert np.array_equal(made.labels, data.labels)
    assert made.classes == data.classes
    assert set(data.columns) <= set(made.columns)
    changed = pixels(made)
    assert changed.dtype == np.uint8
    assert changed.shape == pixels(data).shape
    assert (changed != pixels(data)).any()
    assert np.array_equal(data.source.image, before)
    assert data.fingerprint == fingerprint
    assert made.fingerprint != fingerprint


@pytest.mark.parametrize("entry", BIASES)
def test_the_same_generator_gives_the_same_view(entry):
    one, two = (build(entry)(watched(), numpy_rng(3)) for _ in range(2))
    assert one.fingerprint == two.fingerprint
    assert np.array_equal(pixels(one), pixels(two))


@pytest.mark.parametrize("entry", BIASES)
def test_images_are_the_same_whichever_way_they_are_read(entry):
    made = build(entry)(watched(), numpy_rng(0))
    for row, image in enumerate(pixels(made)):
        assert np.array_equal(made[row].image, image)
    order = np.array([5, 2, 9])
    assert np.array_equal(pixels(made.select(order)), pixels(made)[order])


@pytest.mark.parametrize("entry", BIASES)
def test_an_empty_set_is_no_trouble(entry):
    assert len(build(entry)(watched().select([]), numpy_rng(0))) == 0


def test_there_are_biases():
    assert len(BIASES) >= 1
