import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kintsugi.core.errors import BadCheckpoint
from kintsugi.models.checkpoint import load_into, read_state

STATE = {"0.weight": torch.arange(6.0).view(2, 3), "0.bias": torch.zeros(2)}


def net():
    return nn.Sequential(nn.Linear(3, 2))


def same(state):
    return set(state) == set(STATE) and all(torch.equal(state[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": {f"module.{k}": v for k, v in s.items()}, "optimizer": {"x": 1}},
        lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {"model": s}},
        lambda s: {"n_averaged": torch.tensor(3), **{f"module.{k}": v for k, v in s.items()}},
    ],
)
def test_torch_checkpoints(tmp_path, wrap):
    torch.save(wrap(STATE), tmp_path / "a.pth")
    assert same(read_state(tmp_path / "a.pth"))


def test_safetensors_and_npz(tmp_path):
    save_file(STATE, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", **{name: value.numpy() for name, value in STATE.items()})
    assert same(read_state(tmp_path / "a.safetensors"))
    assert same(read_state(tmp_path / "a.npz"))


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        import pathlib

        return pathlib.Path.touch, (self.mark,)


@pytest.mark.parametrize("save", ["torch", "pickle", "npz"])
def test_a_pickle_is_refused_and_not_run(tmp_path, save):
    mark, file = tmp_path / "ran", tmp_path / ("a.npz" if save == "npz" else "a.pth")
    if save == "torch":
        torch.save({"state_dict": STATE, "extra": Evil(mark)}, file)
    elif save == "pickle":
        file.write_bytes(pickle.dumps(Evil(mark), protocol=2))
    else:
        np.savez(file, w=np.array([Evil(mark)], dtype=object))
    with pytest.raises(BadCheckpoint, match="would execute code when read") as error:
        read_state(file)
    assert str(file) in str(error.value)
    assert "safetensors" in error.value.remedy
    assert not mark.exists()


def test_a_whole_module_is_refused(tmp_path):
    torch.save(net(), tmp_path / "a.pth")
    with pytest.raises(BadCheckpoint, match="would execute code"):
        read_state(tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.npz"])
@pytest.mark.parametrize("content", [b"", b"hello, no checkpoint at all", None])
def test_broken_files_are_named(tmp_path, name, content):
    file = tmp_path / name
    if content is None:  # cut in half
        if name == "a.pth":
            torch.save(STATE, file)
        elif name == "a.npz":
            np.savez(file, a=np.zeros(100))
        else:
            save_file(STATE, file)
        content = file.read_bytes()[: file.stat().st_size // 2]
    file.write_bytes(content)
    with pytest.raises(BadCheckpoint, match=name):
        read_state(file)


def test_missing_file_and_no_tensors(tmp_path):
    with pytest.raises(BadCheckpoint, match="not a file"):
        read_state(tmp_path / "no.pth")
    torch.save({"epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(BadCheckpoint, match="no tensors"):
        read_state(tmp_path / "a.pth")


def test_load_into_finds_prefixes():
    for state in (STATE, {f"model.{k}": v for k, v in STATE.items()}):
        target = net()
        load_into(target, state, "x")
        assert torch.equal(target[0].weight, STATE["0.weight"])


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"0.weight": STATE["0.weight"]}, r"1 missing \(0\.bias\)"),
        ({**STATE, "head.weight": torch.zeros(1)}, r"1 unexpected \(head\.weight\)"),
        ({**STATE, "0.bias": torch.zeros(5)}, r"0\.bias is \(5,\) instead of \(2,\)"),
        ({**STATE, "0.bias": torch.full((2,), torch.nan)}, r"not finite in 0\.bias"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_changed(state, said):
    target = net()
    before = target[0].weight.clone()
    with pytest.raises(BadCheckpoint, match=said) as error:
        load_into(target, state, "weights.pth")
    assert "weights.pth" in str(error.value)
    assert torch.equal(target[0].weight, before)
