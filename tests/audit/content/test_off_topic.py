"""LAD against a drawing of the dendrogram worked out by hand and by recursion; patches among digits; several looks."""

import numpy as np
import pytest
from PIL import Image
from scipy.stats import rankdata
from sklearn.datasets import load_digits, load_sample_image

from kintsugi.audit.content.off_topic import OffTopic, counted, far_quantile, leaf_area_distance
from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument
from kintsugi.data.imageset import ImageSet
from kintsugi.metrics.average_precision import average_precision
from kintsugi.models.encoder import open_encoder
from kintsugi.models.layered import LayeredEncoder
from kintsugi.ops.neighbours import unit
from kintsugi.ops.robust_distance import robust_distance
from kintsugi.ops.single_linkage import Dendrogram, single_linkage


def audit(features, seed=0, **options):
    data = ImageSet.from_arrays(np.zeros((len(features), 2, 2), np.uint8), np.zeros(len(features), int))
    outputs = Outputs(data.ids, np.ones((len(features), 1)), np.asarray(features, np.float32))
    return OffTopic(**options)(data, outputs, np.random.default_rng(seed))


def test_lad_by_hand():
    # leaves 0 1 merge at D 0.1 (1 - cos is twice that), 2 joins at 0.3, the pair 3 4 (made at 0.2) at 0.5
    tree = Dendrogram(
        np.array([[0, 1], [3, 4], [2, 5], [6, 7]]),
        np.array([0.2, 0.4, 0.6, 1.0]),
        np.array([1, 1, 1, 1, 1, 2, 2, 3, 5]),
    )
    root, pair = 1.0 * 0.5, 0.4 * 0.3
    three = root + pair + 0.2 * 0.2
    four = three + 0.2 * 0.2
    two = four + 0.6 * 0.2 + 0.2 * 0.3
    zero = two + 0.4 * 0.2 + 0.2 * 0.1
    np.testing.assert_allclose(leaf_area_distance(tree), [zero, zero + 0.02, two, three, four])
    assert zero + 0.02 == pytest.approx(1.0)  # all branches together fill the square


def recursive(tree):
    total, found = len(tree.height) + 1, {}

    def walk(node, above, passed):
        height = 0.0 if node < total else tree.height[node - total] / 2
        passed += tree.count[node] / total * (above - height)
        if node < total:
            found[node] = passed
            return passed
        for child in sorted(tree.children[node - total], key=lambda one: (tree.count[one], one)):
            passed = walk(child, height, passed)
        return passed

    walk(2 * total - 2, 1.0, 0.0)
    return [found[leaf] for leaf in range(total)]


def test_lad_agrees_with_recursion():
    points = np.random.default_rng(0).standard_normal((200, 5))
    tree = single_linkage(points)
    np.testing.assert_allclose(leaf_area_distance(tree), recursive(tree), rtol=1e-9)


def test_quantiles_are_numpys():
    points = unit(np.random.default_rng(0).standard_normal((90, 6)))
    np.testing.assert_allclose(
        far_quantile(points, points, 0.3), np.quantile((1 - points @ points.T) / 2, 0.3, axis=1), atol=1e-6
    )


def patched(count, seed):
    """Digits, and downscaled patches of two photographs behind them: the card's check."""
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        photo = load_sample_image(("china.jpg", "flower.jpg")[number % 2])
        top, left = (int(rng.integers(side - 64)) for side in photo.shape[:2])
        patch = Image.fromarray(photo[top : top + 64, left : left + 64]).convert("L")
        found.append(np.asarray(patch.resize((8, 8), Image.Resampling.BOX), float).ravel() / 255 * 16)
    digits = load_digits().data
    return np.concatenate([digits, found]), np.arange(len(digits) + count) >= len(digits)


def test_patches_among_digits_come_first():
    """LAD and the blend reach the card's 0.85; the 1% quantile is fooled by the cluster, as the card has it."""
    features, foreign = patched(90, 0)
    found = {
        method: average_precision(
            OffTopic(method=method, quantile=q)._scores(features, (64,), np.random.default_rng(0))[0], foreign
        )
        for method, q in (("lad", 0.1), ("blend", 0.1), ("quantile", 0.01))
    }
    assert min(found["lad"], found["blend"]) >= 0.85
    assert found["quantile"] < 0.6


def two_groups(bulk, apart, far=1.2, seed=0):
    rng = np.random.default_rng(seed)
    first, second = np.eye(20)[0] * 3, np.eye(20)[1] * 3 * far
    return np.concatenate(
        [first + 0.5 * rng.standard_normal((bulk, 20)), second + 0.5 * rng.standard_normal((apart, 20))]
    )


def test_a_group_of_its_own_is_counted_and_flagged():
    for seed in range(3):
        findings = audit(two_groups(400, 25, seed=seed), seed)
        low, high = findings.summary.interval
        assert low <= 25 <= high
        rows = [int(row.ids[0]) for row in findings.flagged]
        assert sum(row >= 400 for row in rows) >= 22
        assert sum(row < 400 for row in rows) <= 5


def test_without_such_a_group_it_cannot_tell_and_flags_nothing():
    findings = audit(two_groups(400, 0))
    assert findings.summary.count is None
    assert not findings.flagged
    assert "Cannot tell how many" in findings.summary.notes[-1]
    assert len(findings) == 20  # the first twentieth, to look at
    assert counted(np.full(500, 0.3), np.random.default_rng(0))[0] is None


def test_beyond_exact_the_ranking_hardly_changes_and_the_notes_say_how_much():
    features = two_groups(3000, 60)
    whole, part = (audit(features, exact=n) for n in (10_000, 1000))
    assert "rank correlation with the exact" in part.summary.notes[0]
    assert not any("correlation" in note for note in whole.summary.notes)
    alike = {row.ids for row in whole.rows[:60]} & {row.ids for row in part.rows[:60]}
    assert len(alike) >= 57


def test_degenerate_features_are_told():
    assert "fewer than three" in audit(np.eye(2)).summary.notes[0]
    assert "same features" in audit(np.ones((50, 4))).summary.notes[0]
    lost = np.random.default_rng(0).standard_normal((120, 4))
    lost[3], lost[4] = np.nan, 0
    assert "2 images without" in audit(lost).summary.notes[0]
    data = ImageSet.from_arrays(np.zeros((4, 2, 2), np.uint8), [0] * 4)
    with pytest.raises(BadArgument, match="needs features"):
        OffTopic()(data, None, np.random.default_rng(0))
    with pytest.raises(BadArgument, match="logistic with method='lad'"):
        OffTopic(threshold="logistic")


LOOKS = (3, 4, 5, 20)


def looked(odd_in, seed=0, count=400):
    """Looks of noise; the last ten images lie apart in the look named, if any."""
    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal((count, width)) for width in LOOKS]
    parts[-1] += 3 * np.eye(LOOKS[-1])[0]
    if odd_in is not None:
        parts[odd_in][-10:] += 8
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize(("odd_in", "look"), [(0, "sharpness"), (1, "colour"), (2, "middle layers")])
def test_what_is_odd_in_one_look_comes_early_and_is_told_by_it(odd_in, look):
    features = looked(odd_in)
    score = OffTopic(parts=LOOKS)._scores(features.astype(np.float32), LOOKS, np.random.default_rng(0))[0]
    assert average_precision(score, np.arange(400) >= 390) > 0.6
    own = OffTopic(method="blend")._scores(features[:, -20:], (20,), np.random.default_rng(0))[0]
    assert average_precision(own, np.arange(400) >= 390) < 0.2
    told = [row for row in audit(features, parts=LOOKS) if int(row.ids[0]) >= 390]
    assert len(told) == 10
    assert all(row.evidence[look] <= 10 for row in told)
    assert f"number {told[0].evidence[look]} by {look}" in told[0].why


def test_the_score_is_the_sum_that_is_documented():
    features, rng = looked(1), np.random.default_rng(0)
    parts = np.split(features.astype(np.float32), np.cumsum(LOOKS)[:-1], axis=1)
    total = -np.log(1 - audit_ranks(OffTopic()._scores(parts[3], LOOKS[3:], rng)[0]))
    for part, weight in zip(parts, (3, 2, 4), strict=False):
        log = np.log(robust_distance(part, rng))
        middle, upper = np.quantile(log, [0.5, 0.84])
        total += weight * np.maximum((log - middle) / (upper - middle), 0)
    found = OffTopic(parts=LOOKS)._scores(features.astype(np.float32), LOOKS, rng)[0]
    np.testing.assert_allclose(found, audit_ranks(total))


def audit_ranks(value):
    return (rankdata(value) - 0.5) / len(value)


def test_the_last_look_serves_the_papers_rankings_and_a_missing_one_is_skipped():
    features = looked(2)
    for method in ("lad", "blend", "quantile", "neighbours"):
        several, own = audit(features, parts=LOOKS, method=method), audit(features[:, -20:], method=method)
        assert [(row.ids, row.score) for row in several] == [(row.ids, row.score) for row in own]
    without = np.delete(features, np.arange(7, 12), axis=1)
    found = audit(without, parts=(3, 4, 0, 20))
    assert "middle layers" not in found.rows[0].evidence
    assert len(found) == 20


def test_looks_flag_nothing_where_the_encoder_tells_of_no_group():
    for seed in range(5):
        found = audit(looked(0, seed), parts=LOOKS)
        assert found.summary.count is None
        assert not found.flagged


def test_a_group_is_flagged_where_the_looks_agree_and_not_where_they_put_others_first():
    rng = np.random.default_rng(0)
    own = two_groups(400, 25)
    parts = [rng.standard_normal((425, width)) for width in LOOKS[:3]]
    for odd, flagged in ((slice(400, 425), True), (slice(0, 25), False)):
        looks = [part.copy() for part in parts]
        for look in looks:
            look[odd] += 8
        found = audit(np.concatenate([*looks, own], axis=1), parts=LOOKS)
        assert bool(found.flagged) == flagged
        assert {int(row.ids[0]) for row in found.rows[:20]} <= set(range(425)[odd])
        assert flagged or "put first" in found.summary.notes[-1]


def test_images_that_are_all_alike_by_a_look_say_nothing_by_it():
    features = looked(1)
    features[:, :3] = 1
    found = audit(features, parts=LOOKS)
    assert len({int(row.ids[0]) for row in found.rows} & set(range(390, 400))) == 10


def test_an_encoder_says_its_looks_itself():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (60, 16, 16, 3)).astype(np.uint8)
    image[-2:] = image[-2:, ::8, ::8].repeat(8, axis=1).repeat(8, axis=2)
    data = ImageSet.from_arrays(image, np.zeros(60, int))
    found = OffTopic(LayeredEncoder(open_encoder("small:cnn", weights="random")))(data, None, rng)
    assert {row.ids[0] for row in found.rows[:2]} == set(data.ids[-2:])
    assert set(found.rows[0].evidence) == {"distance", "sharpness", "colour", "middle layers", "the encoder"}


def test_wrong_parts_are_told():
    for parts in ((), (1, 2), (3, -1, 2, 4), (3, 4, 5, 0)):
        with pytest.raises(BadArgument, match="parts"):
            OffTopic(parts=parts)
    with pytest.raises(BadArgument, match="32 in all"):
        audit(looked(None), parts=(3, 4, 5, 21))
    with pytest.raises(BadArgument, match="four looks"):
        audit(looked(None), method="looks")
