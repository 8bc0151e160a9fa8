"""Bad and odd images, names and links: left out by name or read as they are, and the rest of the work is done."""

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib

import numpy as np
import pyarrow.parquet as pq
import pytest
from asking import MODEL, ask, refused
from PIL import Image

from kintsugi.api.audit import CHECKS
from kintsugi.cli.main import main


def png_header(width, height):
    """A PNG that only claims a size: a bomb is told by its header, and decoding this one would fail."""
    parts = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b"\0"))
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def as_bytes(picture, codec, **options):
    held = io.BytesIO()
    picture.save(held, codec, **options)
    return held.getvalue()


def turned(picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    return as_bytes(picture, "JPEG", exif=exif)


LEFT_OUT = {  # the name: what it holds, and why it is left out
    "truncated.jpg": (lambda p: as_bytes(p, "JPEG")[:400], "truncated"),
    "zero.jpg": (lambda p: b"", "empty"),
    "phone.heic": (lambda p: b"\0\0\0\x18ftypheic" + bytes(64), "unreadable"),  # no decoder, and the message says so
    "text.png": (lambda p: b"no picture", "not an image"),
    "bomb.png": (lambda p: png_header(17_895, 10_001), "bomb"),  # 178.97 megapixels
    "new\nline\x1b[31m.jpg": (lambda p: b"", "empty"),
    "link out.jpg": ("/etc/hostname", "outside"),
    "link to nothing.jpg": ("nowhere.jpg", "missing"),
}
READ = {  # the name: what it holds; all of it is read
    "mislabelled.jpg": lambda p: as_bytes(p, "PNG"),
    "one pixel.png": lambda p: as_bytes(p.crop((0, 0, 1, 1)), "PNG"),
    "large.jpg": lambda p: as_bytes(Image.new("RGB", (10_000, 10_000), (90, 120, 60)), "JPEG", quality=30),
    "long.png": lambda p: as_bytes(p.resize((400, 4)), "PNG"),
    "grey.png": lambda p: as_bytes(p.convert("L"), "PNG"),
    "palette.gif": lambda p: as_bytes(p.quantize(32), "GIF"),
    "alpha.png": lambda p: as_bytes(p.convert("RGBA"), "PNG"),
    "cmyk.jpg": lambda p: as_bytes(p.convert("CMYK"), "JPEG"),
    "16 bit.png": lambda p: as_bytes(Image.fromarray(np.asarray(p.convert("L")).astype(np.uint16) * 257), "PNG"),
    "turned.jpg": turned,
    'ünï 漢字 🌸, "quoted".jpg': lambda p: as_bytes(p.transpose(Image.Transpose.ROTATE_90), "JPEG"),
    "x" * 250 + ".png": lambda p: as_bytes(p.transpose(Image.Transpose.ROTATE_180), "PNG"),
}


@pytest.fixture(scope="module")
def spoiled(few, tmp_path_factory):
    """The photographs, and all of the above among the flowers; a class without any image besides."""
    root = shutil.copytree(few, tmp_path_factory.mktemp("spoiled") / "data")
    with Image.open(few / "flower/00.jpg") as photo:
        for name, (content, _) in LEFT_OUT.items():
            if isinstance(content, str):
                (root / "flower" / name).symlink_to(content)
            else:
                (root / "flower" / name).write_bytes(content(photo))
        for name, content in READ.items():
            (root / "flower" / name).write_bytes(content(photo))
    (root / "empty").mkdir()
    return root


@pytest.fixture(scope="module")
def audited(spoiled, tmp_path_factory):
    """What ``audit`` says of that folder, as JSON and in words."""
    out = tmp_path_factory.mktemp("audited")
    held = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", held)
        assert main(["audit", str(spoiled), "--out", str(out), "--quiet", "--json"]) == 0
        said, held.string = json.loads(held.getvalue()), None
        patch.setattr(sys, "stdout", held := io.StringIO())
        assert main(["audit", str(spoiled), "--out", str(out), "--quiet"]) == 0
    return said, held.getvalue(), out


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_cannot_be_used_is_left_out_by_name(audited, name):
    said, words, _ = audited
    assert {f"flower/{name}": LEFT_OUT[name][1]}.items() <= {p["where"]: p["reason"] for p in said["left_out"]}.items()
    assert f"left out: flower/{name.encode('unicode_escape').decode()}: {LEFT_OUT[name][1]}" in words


@pytest.mark.parametrize("name", READ)
def test_odd_images_are_read(audited, name):
    said, _, _ = audited
    assert f"flower/{name}" not in {p["where"] for p in said["left_out"]}
    remark = {p["where"]: p["reason"] for p in said["remarks"]}.get(f"flower/{name}")
    assert remark == ("mislabelled extension" if name == "mislabelled.jpg" else None)


def test_the_rest_of_the_audit_is_done(audited):
    said, words, out = audited
    assert [check["check"] for check in said["checks"]] == list(CHECKS)
    assert said["undone"] == []
    assert len(said["left_out"]) == len(LEFT_OUT)
    found = pq.read_table(out / "audit/findings.parquet").to_pylist()
    assert {"flower/zero.jpg", "flower/bomb.png"} <= {row["ids"][0] for row in found if row["check"] == "unreadable"}
    assert "class empty has no sample" in words  # an empty class is a finding, and a remark
    assert ("empty class", "'empty' has no samples") in {(p["reason"], p["detail"]) for p in said["remarks"]}


def test_the_other_verbs_go_on_without_what_cannot_be_used(spoiled, tmp_path, capsys):
    for number, words in enumerate((
        ["stress", "small:cnn", spoiled, "--method", "jpeg", "--device", "cpu"],
        ["discover", "small:cnn", spoiled, "--device", "cpu"],
        ["repair", "small:cnn", spoiled, "--with", "erm", *MODEL[2:]],
        ["mend", spoiled, *MODEL, "--budget", 0],
    )):  # fmt: skip
        said = ask(capsys, *words, "--size", 32, "--out", tmp_path / str(number))
        assert "flower/link out.jpg" in {problem["where"] for problem in said["left_out"]}
    page = (tmp_path / "3/report.html").read_text(encoding="utf-8")
    assert "link out.jpg" in page


def test_mixed_sizes_need_a_size_that_the_message_names(spoiled, tmp_path, capsys):
    said = refused(capsys, "repair", "small:cnn", spoiled, "--with", "erm", *MODEL[2:], "--out", tmp_path)
    assert "differ in size" in said
    assert "--size" in said
    with pytest.raises(SystemExit, match="2"):
        main(["stress", "small:cnn", str(spoiled), "--size", "huge"])


def test_unreadable_files_and_folders_and_an_out_that_cannot_be_written(few, tmp_path):
    root = shutil.copytree(few, tmp_path / "data")
    (root / "flower/00.jpg").chmod(0)
    shutil.copytree(root / "temple", root / "locked")
    (root / "locked").chmod(0)
    (tmp_path / "closed").mkdir(mode=0o500)
    humble = []  # root may read and write everything: give that up first
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root may read every file, and there is no setpriv to give that up")
        humble = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]

    def command(*words):
        program = [*humble, sys.executable, "-m", "kintsugi", *map(str, words), "--json", "--quiet"]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        return done.returncode, json.loads(done.stdout), done.stderr

    code, said, _ = command("audit", root, "--out", tmp_path / "out")
    assert code == 0
    assert {p["where"]: p["reason"] for p in said["left_out"]} == {
        "flower/00.jpg": "unreadable", "locked": "unreadable",
    }  # fmt: skip
    assert len(said["checks"]) == len(CHECKS)
    code, said, error = command("audit", few, "--out", tmp_path / "closed/out")
    assert code == 2
    assert "closed/out cannot be written (Permission denied)" in error
    (root / "locked").chmod(0o700)


def test_nothing_readable_at_all(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(6):
            (tmp_path / "data" / name / f"{number}.jpg").touch()
    said = ask(capsys, "audit", tmp_path / "data", "--out", tmp_path / "out", code=2)
    assert {each["check"]: "12 empty; first a/0.jpg" in each["why"] for each in said["undone"]}["label_errors"]
    assert pq.read_table(tmp_path / "out/audit/findings.parquet").num_rows >= 12  # what could be found is kept
    said = refused(capsys, "mend", tmp_path / "data", *MODEL, "--out", tmp_path / "mend")
    assert "could be read" in said
    assert "empty; first" in said
