"""The checks of an audit share what was decoded."""

import numpy as np
from PIL import Image

import kintsugi
from kintsugi.data.encoded import Files
from kintsugi.models.encoder import PixelEncoder


def test_every_image_is_decoded_once_for_all_checks(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for k in range(60):
        path = tmp_path / "data" / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 24 + 8 * (k % 3), 3), dtype=np.uint8)).save(path)
    (tmp_path / "data/a/bad.png").write_bytes(b"no picture")
    decoded = []
    for name in ("read", "picture"):
        real = getattr(Files, name)
        monkeypatch.setattr(Files, name, lambda self, row, *a, real=real: decoded.append(row) or real(self, row, *a))
    case = kintsugi.load(tmp_path / "data", out=tmp_path / "out")
    checks = ("broken_files", "image_quality", "near_duplicates", "conflict_duplicates", "z_statistics")
    result = case.audit(checks=checks, encoder=PixelEncoder(), save=False)
    assert not result.undone
    assert [each.card for each in result.findings] == list(checks)
    bad = next(row for row, path in enumerate(case.data.source.paths) if path.endswith("bad.png"))
    counts = np.bincount(decoded, minlength=61)
    assert set(np.delete(counts, bad)) == {1}
    assert [problem.reason for problem in case.data.problems.left_out] == ["not an image"]
    case.data.source.read(0)
    assert np.bincount(decoded, minlength=61)[0] == 2  # the case itself remembers nothing
