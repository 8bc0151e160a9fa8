"""The watermark: place, opacity and reach by the card's numbers; the view draws what it promises on every path."""

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.imageset import ImageSet
from kintsugi.stress.bias.watermark import Watermark, carton_gap


def black(n=6, height=60, width=50, value=0):
    image = np.full((n, height, width, 3), value, dtype=np.uint8)
    return ImageSet.from_arrays(image, np.arange(n) % 2, ("odd", "even"))


class Files:
    """A source of mixed sizes that cannot gather, and can shrink on loading."""

    fingerprint = "files"

    def __init__(self, sizes):
        self.sizes = sizes
        self.asked = []

    def __len__(self):
        return len(self.sizes)

    def read(self, row):
        return np.zeros((*self.sizes[row], 3), dtype=np.uint8)

    def picture(self, row, enough=None):
        self.asked.append(enough)
        height, width = self.sizes[row]
        return Image.new("RGB", (width // 2, height // 2) if enough else (width, height))


@pytest.mark.parametrize(("side", "font"), [(224, 36), (384, 62), (512, 82), (100, 100 / 6.22), (20, 20 / 6.22)])
def test_the_mark_stands_where_the_card_says(side, font):
    alpha = Watermark().alpha(side, side)
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    thick = 0.09 * font / 2 + 1.5
    assert 0.4 * side - 1 <= rows[0] <= 0.4 * side + 0.05 * font + 1
    assert abs(rows[-1] - (0.4 * side + 0.95 * font)) <= thick
    assert abs(columns[0] - (0.01 * side + 0.1 * font)) <= thick
    assert abs(columns[-1] - (0.01 * side + 5.9 * font)) <= thick
    assert alpha.max() == pytest.approx(0.5, abs=0.25 if side < 50 else 1e-6)
    ink = alpha.sum() / 0.5 / (6 * font**2)
    assert 0.15 < ink < 0.4


def test_the_six_signs_differ():
    alpha = Watermark(x=0.0, y=0.0).alpha(36, 224)
    cells = [alpha[:, 36 * k : 36 * (k + 1)] for k in range(6)]
    for a in range(6):
        for b in range(a):
            assert np.abs(cells[a] - cells[b]).mean() > 0.05


def test_pixels_are_blended_with_white():
    clean = black(2, value=100)
    marked = Watermark(opacity=0.5)(clean, numpy_rng(0))
    alpha = Watermark(opacity=0.5).alpha(60, 50)
    wanted = np.rint(100 + (255 - 100) * alpha.astype(np.float64))
    np.testing.assert_allclose(marked[0].image[..., 0], wanted, atol=1)
    assert np.array_equal(marked[0].image[alpha == 0], clean[0].image[alpha == 0])


def test_gather_read_and_stream_agree():
    data = black(9, value=30).select([8, 3, 5, 0])
    marked = Watermark(share=0.5)(data, numpy_rng(1))
    assert marked.column("watermark").sum() == 2
    together = marked.source.gather(np.arange(4))
    (_, streamed), *_ = marked.stream(4)
    for row in range(4):
        assert np.array_equal(together[row], marked[row].image)
        assert np.array_equal(streamed[row], marked[row].image)
        assert (marked[row].image > 30).any() == marked.column("watermark")[row]


def test_views_of_the_view_keep_their_marks():
    marked = Watermark(classes=("even",))(black(8), numpy_rng(0))
    assert marked.column("watermark").tolist() == (marked.labels == 1).tolist()
    cut = marked.select([7, 2, 1])
    assert [bool(cut[row].image.any()) for row in range(3)] == [True, False, True]
    joined = ImageSet.concat([cut.select([0]), marked.select([0])])
    assert [bool(joined[row].image.any()) for row in range(2)] == [True, False]


def test_encoded_images_are_marked_at_the_size_they_are_loaded_at():
    source = Files([(90, 120), (50, 50)])
    table = pa.table({"id": ["a", "b"], "label": pa.array([0, 1], pa.int64())})
    marked = Watermark()(ImageSet(source, table, ("x", "y")), numpy_rng(0))
    assert marked.source.gather is None
    assert marked[0].image.shape == (90, 120, 3)
    assert marked[0].image.any()
    (_, image), *_ = marked.stream(2, size=(20, 20), workers=0)
    assert source.asked == [(20, 20), (20, 20)]
    assert image.any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (3, 2)])
def test_odd_shapes_are_no_trouble(shape):
    alpha = Watermark().alpha(*shape)
    assert alpha.shape == shape
    assert alpha.max() <= 0.5


def test_carton_gap_by_hand():
    eye = np.eye(3)
    clean = Outputs(list("abcde"), eye[[0, 0, 1, 1, 2]])
    marked = Outputs(list("abcde"), eye[[0, 2, 2, 1, 2]])
    gap = carton_gap(clean, marked, np.array([0, 2, 1, 1, -1]))
    # right before: a c d (3 of 4); right after: a b d (3 of 4). Class 2: 1 of 5 answers before, 3 of 5 after.
    assert (gap.change, gap.attracts, gap.gain) == (0.0, 2, 1.0)
    assert gap.pull == pytest.approx(0.4)


def test_carton_gap_refuses_what_is_not_paired():
    said = Outputs(list("ab"), np.eye(2))
    with pytest.raises(BadData, match="paired"):
        carton_gap(said, Outputs(list("ba"), np.eye(2)), np.array([0, 1]))
    with pytest.raises(BadData, match="label"):
        carton_gap(said, said, np.array([-1, -1]))


@pytest.mark.parametrize(
    "wrong", [{"opacity": 0.0}, {"opacity": 1.1}, {"share": 0.0}, {"classes": ()}, {"classes": "even"}, {"x": 1.0}]
)
def test_bad_parameters_are_refused_by_name(wrong):
    with pytest.raises(BadArgument, match=next(iter(wrong))):
        Watermark(**wrong)


def test_an_unknown_class_is_refused():
    with pytest.raises(BadArgument, match="classes='neither'"):
        Watermark(classes=("neither",))(black(), numpy_rng(0))
