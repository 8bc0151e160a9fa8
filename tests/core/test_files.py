"""Nothing is lost: writes are whole or absent, logs survive a cut, paths stay inside."""

import errno
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.core import files
from kintsugi.core.errors import BadData, StorageFull
from kintsugi.core.run import Run


def test_a_failing_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), files.atomic(path) as stream:
        stream.write(b"half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("writer", ["json", "with", "line"])
def test_a_full_disk_is_one_clear_error_and_loses_nothing(tmp_path, monkeypatch, writer):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageFull, match=r"disk is full.*a\.json"):
        if writer == "json":
            monkeypatch.setattr(os, "fsync", full)
            files.write_json(path, {"a": 2})
        elif writer == "with":
            files.write_with(path, full)
        else:
            monkeypatch.setattr(files.Path, "open", full)
            files.append_line(path, {})
    monkeypatch.undo()
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_really_full_device_is_named():
    with pytest.raises(StorageFull, match="/dev/full"), files.disk_errors(files.Path("/dev/full")):
        with open("/dev/full", "w") as stream:
            stream.write("x" * 10000)
            stream.flush()


def test_the_error_of_a_library_in_rust_is_read_as_the_systems(tmp_path, file_limit):
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    state = {"weight": torch.zeros(100_000)}
    path = tmp_path / "w.safetensors"
    files.write_with(path, lambda part: save_file({"weight": torch.ones(3)}, part))
    before = path.read_bytes()
    with file_limit(1000), pytest.raises(StorageFull, match=r"w\.safetensors.*ulimit -f"):
        files.write_with(path, lambda part: save_file(state, part))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["w.safetensors"]
    with pytest.raises(SafetensorError), files.disk_errors(path):  # what is no word of the system stays what it is
        raise SafetensorError("header too large")


@pytest.mark.parametrize(
    ("name", "why"),
    [("file", "exists"), ("file/x", "Not a directory"), ("y" * 300, "too long"), ("/proc/no/such", "No such file")],
)
def test_a_path_that_cannot_be_a_folder_is_named(tmp_path, name, why):
    (tmp_path / "file").touch()
    with pytest.raises(BadData, match=rf"{name[-9:]}.* cannot be written \(.*{why}"), Run(tmp_path / name).locked():
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(BadData, match="cannot be written"):
        files.write_json(tmp_path / "a.json", {})


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=5), st.integers(), max_size=3), max_size=5), st.data())
def test_a_log_cut_anywhere_gives_its_whole_lines(tmp_path_factory, records, data):
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    for record in records:
        files.append_line(path, record)
    whole = path.read_bytes() if records else b""
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = files.read_lines(path)
    assert kept == records[: len(kept)]
    assert len(kept) >= whole[:cut].count(b"\n")


@pytest.mark.parametrize(
    ("before", "kept"),
    [('{"a": 1}\n{"a": 2', [{"a": 1}]), ('{"a": 1}', [{"a": 1}]), ("{torn", []), ("", []), ('{"a": 1}\n', [{"a": 1}])],
)
def test_a_log_goes_on_after_a_torn_line(tmp_path, before, kept):
    path = tmp_path / "log.jsonl"
    path.write_text(before)
    files.append_line(path, {"b": "ü"})
    assert files.read_lines(path) == [*kept, {"b": "ü"}]


def test_a_log_on_a_disk_that_fills_up_stays_whole(tmp_path, file_limit):
    path = tmp_path / "log.jsonl"
    files.append_line(path, {"a": 1})
    with file_limit(40), pytest.raises(StorageFull, match=r"log\.jsonl"):
        files.append_line(path, {"b": "x" * 100})
    assert path.read_text() == '{"a": 1}\n'


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"a": 1}\n{broken\n{"a": 2}\n')
    with pytest.raises(BadData, match="line 2"):
        files.read_lines(path)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "link/x"])
def test_paths_that_leave_their_folder_are_refused(tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path)
    with pytest.raises(BadData, match="leaves the folder"):
        files.inside(tmp_path / "in", name)


def test_paths_inside_are_given(tmp_path):
    assert files.inside(tmp_path, "a/../b/ü.png") == (tmp_path / "b/ü.png").resolve()


def test_nan_is_not_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())
