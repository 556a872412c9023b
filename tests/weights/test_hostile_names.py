"""What a stranger's file says reaches the terminal without its control characters, shortened, and never as advice."""

import pickle
import time
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy

import zoo
from tests.weights.test_state_dict import NAME, state_dict_of
from zoo.errors import UserError
from zoo.weights.torch_files import MAGIC
from zoo.weights.wording import LONGEST, escape

RED = "\x1b[31mfc\x1b]0;title\x07\r\n\u202e.weight"


def assert_harmless(error):
    text = str(error.value)
    assert all(c.isprintable() or c == "\n" for c in text), text
    assert len(text) < 3000
    return text


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_control_characters_of_a_key_are_escaped(tmp_path, suffix):
    path = tmp_path / f"w.{suffix}"
    arrays = {RED: np.zeros(1, np.float32)}
    np.savez(path, **arrays) if suffix == "npz" else safetensors.numpy.save_file(arrays, path)
    with pytest.raises(UserError, match="1 unexpected") as error:
        zoo.load(NAME, path)
    assert r"\x1b[31mfc\x1b]0;title\x07\r\n\u202e.weight" in assert_harmless(error)


def test_of_twenty_thousand_keys_ten_and_the_count_are_shown():
    state = state_dict_of() | {f"layer{i}.{'x' * 10}": np.zeros(1, np.float32) for i in range(20_000)}
    with pytest.raises(UserError, match=r"20000 unexpected: .* and 19990 more") as error:
        zoo.from_torch(NAME, state)
    assert assert_harmless(error).count("xxxxxxxxxx") == 10


def test_a_key_of_a_million_characters_is_cut():
    with pytest.raises(UserError, match=r"x\.\.\.") as error:
        zoo.from_torch(NAME, state_dict_of() | {"x" * 10**6: np.zeros(1)})
    assert_harmless(error)
    assert escape("x" * LONGEST) == "x" * LONGEST


def test_two_hostile_keys_of_one_tensor_are_escaped():
    layout = zoo.models.layout.Layout(old=(("^.*fc", "fc"),))
    with pytest.raises(UserError, match="one tensor") as error:
        zoo.from_torch(NAME, state_dict_of() | {"\x1b[31mfc.bias": np.zeros(10)}, layout=layout)
    assert r"\x1b[31mfc.bias" in assert_harmless(error)


def test_a_noted_model_and_a_broken_file_are_escaped(tmp_path):
    path = tmp_path / "w.safetensors"
    zoo.weights.write_arrays(path, {"a": np.zeros(1)}, {"model": RED})
    with pytest.raises(UserError, match="holds the weights of") as error:
        zoo.load(NAME, path)
    assert_harmless(error)
    header = b'{"a":{"dtype":"\x1b[31mF32","shape":[1],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(UserError, match="cannot be read") as error:
        zoo.load(NAME, path)
    assert_harmless(error)


class FakeTensor:
    """Of torch's tensors what is asked of them; `numpy` or `cpu` fails as torch's does."""

    def __init__(self, error):
        self.error = error

    detach = cpu = is_floating_point = lambda self: self
    float = cpu
    dtype = SimpleNamespace(itemsize=4)

    def __array__(self, dtype=None, copy=None):
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        TypeError("can't convert Sparse layout tensor to numpy. Use Tensor.to_dense() first."),
        NotImplementedError("Cannot copy out of meta tensor; no data!"),
        TypeError("Got unsupported ScalarType QInt8"),
    ],
)
def test_tensors_without_plain_numbers_are_one_line(error):
    with pytest.raises(UserError, match=r"^fc\.weight is not a plain array \(.*\): pass dense tensors") as caught:
        zoo.from_torch(NAME, state_dict_of() | {"fc.weight": FakeTensor(error)})
    assert "\n" not in str(caught.value)


def test_a_pickle_of_hostile_names_is_one_harmless_line(tmp_path):
    head = b"".join(pickle.dumps(one, 2) for one in (MAGIC, 1001, {"little_endian": True}))
    (tmp_path / "w.pth").write_bytes(
        head + f"\x80\x02cos\x1b[31m\n{'x' * 10**6}\n.".encode("latin1") + pickle.dumps([], 2)
    )
    with pytest.raises(UserError, match=r"w\.pth cannot be read.* no state dict .*code is not run") as error:
        zoo.load(NAME, tmp_path / "w.pth")
    assert_harmless(error)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_torch_s_sparse_meta_and_other_tensors_are_one_line(tmp_path):
    import torch

    state, path = {k: torch.tensor(v) for k, v in state_dict_of().items()}, tmp_path / "w.pth"
    weight = state["fc.weight"]
    for odd in (weight.to_sparse(), weight.to_sparse_csr(), weight.to("meta")):
        for of_file in (False, True):
            torch.save(state | {"fc.weight": odd}, path)
            with pytest.raises(UserError, match=r"^fc\.weight is not a plain array") as error:
                zoo.load(NAME, path) if of_file else zoo.from_torch(NAME, state | {"fc.weight": odd})
            assert "\n" not in str(error.value)
    torch.save({k: v.bfloat16() for k, v in state.items()}, path)
    assert "holds the weights" in zoo.weights.verify(NAME, path)
    rounded = weight.to(torch.float8_e5m2)
    loaded = zoo.from_torch(NAME, state | {"fc.weight": rounded})["params"]["fc"]["kernel"]
    np.testing.assert_array_equal(loaded, rounded.float().numpy().T)


@pytest.mark.parity
def test_what_torch_would_refuse_is_one_line_without_its_advice(tmp_path):
    import torch

    for content in (torch.nn.ReLU(), {"fc.weight": SimpleNamespace()}, {"a": 1}, {1: torch.zeros(1)}):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(UserError, match="cannot be read, nothing was loaded") as error:
            zoo.load(NAME, tmp_path / "w.pth")
        assert "weights_only" not in assert_harmless(error)


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("suffix", ["safetensors", "npz", "memory"])
def test_the_prefix_of_wrapped_nets_is_taken_off_everywhere(tmp_path, suffix, prefix):
    state, path = state_dict_of(), tmp_path / f"w.{suffix}"
    wrapped = {f"{prefix}{key}": array for key, array in state.items()}
    if suffix == "memory":
        loaded = zoo.from_torch(NAME, wrapped)
    else:
        np.savez(path, **wrapped) if suffix == "npz" else safetensors.numpy.save_file(wrapped, path)
        loaded = zoo.load(NAME, path)
    np.testing.assert_array_equal(loaded["params"]["fc"]["kernel"], state["fc.weight"].T)


def test_a_prefix_of_some_keys_alone_is_not_taken_off():
    state = state_dict_of()
    with pytest.raises(UserError, match=r"1 unexpected: module\.fc\.bias"):
        zoo.from_torch(NAME, state | {"module.fc.bias": state["fc.bias"]})


def test_a_dead_network_is_one_line_within_seconds(monkeypatch, tmp_path, caplog):
    nobody = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", nobody)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    started = time.monotonic()
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors from the hub's 'org/name': ") as error:
        zoo.load(NAME, "hf:org/name")
    assert time.monotonic() - started < 5
    assert "\n" not in str(error.value)
    assert "onnect" in str(error.value)
    assert not caplog.records
