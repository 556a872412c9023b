"""Weights files: written whole, read strictly; a damaged or hostile one is one clear line, and runs nothing."""

import json
import os
import pickle
import struct
import sys
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy

import zoo
from tests.weights.test_state_dict import NAME, assert_equal_trees, state_dict_of
from zoo import weights
from zoo.weights import files


@pytest.fixture(scope="module")
def variables():
    return weights.from_torch(NAME, state_dict_of())


@pytest.mark.parametrize("layout", ["zoo", "torchvision"])
def test_load_gives_back_what_was_saved(tmp_path, variables, layout):
    path = tmp_path / "w.safetensors"
    files.save(path, variables, name=NAME, layout=layout)
    assert_equal_trees(zoo.load(NAME, path), variables)
    assert files.read_metadata(path) == {"model": NAME, "layout": layout}
    assert sorted(path.parent.iterdir()) == [path]


def test_torch_s_layout_is_written_in_torch_s_order_of_memory(tmp_path, variables):
    path = tmp_path / "w.safetensors"
    files.save(path, variables, name=NAME, layout="torchvision")
    written = safetensors.numpy.load_file(path)  # safetensors copies memory, whatever its strides
    for key, array in state_dict_of().items():
        np.testing.assert_array_equal(written[key], array, strict=True)


def test_bfloat16_survives(tmp_path):
    model = zoo.create(NAME, param_dtype=jnp.bfloat16)
    variables = weights.from_torch(NAME, state_dict_of(), model=model)
    files.save(tmp_path / "w.safetensors", variables, name=NAME)
    assert_equal_trees(zoo.load(NAME, tmp_path / "w.safetensors", model=model), variables)


@pytest.mark.parametrize("layout", ["zoo", "torchvision"])
def test_npz_is_read_in_both_layouts(tmp_path, variables, layout):
    np.savez_compressed(tmp_path / "w.npz", **weights.to_torch(NAME, variables, layout=layout))
    assert_equal_trees(zoo.load(NAME, tmp_path / "w.npz"), variables)


def test_arguments_of_from_torch_reach_it(tmp_path, variables):
    files.save(tmp_path / "w.safetensors", variables, name=NAME)
    loaded = zoo.load(NAME, tmp_path / "w.safetensors", model=zoo.create(NAME, num_classes=0), grayscale=True)
    assert loaded["params"]["conv1"]["kernel"].shape == (3, 3, 1, 16)
    assert "fc" not in loaded["params"]


def test_weights_of_another_model_are_refused_even_if_they_would_fit(tmp_path):
    path = tmp_path / "w.safetensors"
    files.write_arrays(path, {"a": np.zeros(1)}, {"model": "resnet50"})
    with pytest.raises(ValueError, match=r"w\.safetensors holds the weights of resnet50, not of resnet50_v1"):
        zoo.load("resnet50_v1", path)


def test_the_home_folder_is_known_by_its_sign(tmp_path, variables, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    files.save("~/w.safetensors", variables, name=NAME)
    assert (tmp_path / "w.safetensors").is_file()
    assert files.read("~/w.safetensors").keys()
    assert files.read_metadata("~/w.safetensors")["model"] == NAME
    assert_equal_trees(zoo.load(NAME, "~/w.safetensors"), variables)
    weights.convert(NAME, "~/w.safetensors", "~/out.safetensors")
    assert "holds the weights" in weights.verify(NAME, "~/out.safetensors")


def test_save_refuses_other_kinds_of_files_and_layouts(tmp_path, variables):
    with pytest.raises(ValueError, match=r"w\.npz: weights are written as \.safetensors"):
        files.save(tmp_path / "w.npz", variables, name=NAME)
    with pytest.raises(ValueError, match="layout='keras'"):
        files.save(tmp_path / "w.safetensors", variables, name=NAME, layout="keras")
    assert not list(tmp_path.iterdir())


def test_absent_weights_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"resnet20 has no published weights: pass a file, zoo\.load\('resnet20', "):
        zoo.load(NAME)
    with pytest.raises(FileNotFoundError, match=r"no file of weights at \S+gone\.npz"):
        zoo.load(NAME, tmp_path / "gone.npz")
    (tmp_path / "w.txt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"weights are read from \.safetensors, \.npz, \.pth"):
        zoo.load(NAME, tmp_path / "w.txt")


def safetensors_file(header, data=b"", length=None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape=(2,), start=0, stop=8, dtype="F32") -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


BAD_SAFETENSORS = {
    "empty": b"",
    "three bytes": b"abc",
    "header of 8 EiB": safetensors_file({"a": tensor()}, bytes(8), length=2**63),
    "header longer than the file": safetensors_file({"a": tensor()}, bytes(8), length=10**6),
    "no JSON": safetensors_file(b"hello"),
    "truncated": safetensors_file({"a": tensor()}, bytes(4)),
    "longer than its header says": safetensors_file({"a": tensor()}, bytes(80)),
    "overlapping tensors": safetensors_file({"a": tensor(), "b": tensor()}, bytes(8)),
    "offsets backwards": safetensors_file({"a": tensor(start=8, stop=0)}, bytes(8)),
    "offsets beyond the end": safetensors_file({"a": tensor((2**20,), 0, 2**22)}, bytes(8)),
    "shape and offsets differ": safetensors_file({"a": tensor((3,))}, bytes(8)),
    "shape of 2**65": safetensors_file({"a": tensor((2**62, 8))}, bytes(8)),
    "unknown type": safetensors_file({"a": tensor(dtype="OBJECT")}, bytes(8)),
    "type numpy lacks": safetensors_file({"a": tensor((16,), dtype="F4")}, bytes(8)),
    "a pickle": pickle.dumps({"a": 1}),
}


class Hostile:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def npz_member(shape: str, data=b"", dtype="<f4") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def assert_refused(path):
    with pytest.raises(ValueError, match="cannot be read, nothing was loaded: ") as error:
        zoo.load(NAME, path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", BAD_SAFETENSORS.values(), ids=BAD_SAFETENSORS)
def test_a_bad_safetensors_file_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    assert_refused(tmp_path / "w.safetensors")


@pytest.mark.parametrize("cut", [0, 1, 100, 5000, -1])
@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_a_truncated_file_is_refused_in_one_line(tmp_path, variables, suffix, cut):
    path = tmp_path / f"w.{suffix}"
    if suffix == "npz":
        np.savez(path, **weights.to_torch(NAME, variables))
    else:
        files.save(path, variables, name=NAME)
    path.write_bytes(path.read_bytes()[:cut])
    assert_refused(path)


def test_a_flipped_byte_of_an_npz_is_noticed(tmp_path, variables):
    path = tmp_path / "w.npz"
    np.savez(path, **weights.to_torch(NAME, variables))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert_refused(path)


def test_a_pickle_in_an_npz_is_not_opened(tmp_path):
    path, trace = tmp_path / "w.npz", tmp_path / "trace"
    np.savez(path, **{"fc.weight": np.array([Hostile(trace)], object)})
    assert_refused(path)
    path.write_bytes(pickle.dumps(Hostile(trace)))
    assert_refused(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "member",
    [npz_member("(10**18,)"), npz_member("(1000000000000000,)"), npz_member("(4,)", bytes(8)), b"", b"\x93NUMPY"],
    ids=["an expression", "larger than memory", "short of data", "empty", "cut"],
)
def test_a_bad_array_in_an_npz_is_refused_in_one_line(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("fc.weight.npy", member)
    assert_refused(tmp_path / "w.npz")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    np.savez_compressed(tmp_path / "w.npz", **{"fc.weight": np.zeros(10**7, np.int8)})
    with pytest.raises(ValueError, match="more than 100 times its size"):
        zoo.load(NAME, tmp_path / "w.npz")


def test_a_pickle_in_a_pth_file_is_not_run(tmp_path):
    trace = tmp_path / "trace"
    (tmp_path / "w.pth").write_bytes(pickle.dumps(Hostile(trace)))
    assert_refused(tmp_path / "w.pth")
    assert not trace.exists()


@pytest.mark.parity
def test_a_pth_file_of_torch_s_is_read_and_runs_nothing(tmp_path, variables):
    import torch

    path, trace = tmp_path / "w.pth", tmp_path / "trace"
    state = {k: torch.from_numpy(v) for k, v in state_dict_of().items()}
    prefixed = {f"module.{k}": v for k, v in state.items()}
    for content in (state, {"state_dict": prefixed, "epoch": 3}):
        torch.save(content, path)
        assert_equal_trees(zoo.load(NAME, path), variables)
    content = path.read_bytes()
    for bad in (b"", b"abc", content[:-1], content[:1000], pickle.dumps(Hostile(trace)), pickle.dumps({"a": 1})):
        path.write_bytes(bad)
        assert_refused(path)
    torch.save({"fc.weight": Hostile(trace)}, path)
    assert_refused(path)
    assert not trace.exists()


def test_the_hub_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r"hf:org/name is fetched by huggingface_hub: `pip install"):
        zoo.load(NAME, "hf:org/name")


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """The folder of a cache that is all there is of the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_the_hub_s_cache_is_used_when_offline(offline, variables):
    commit, folder = "0" * 40, offline / "models--org--name"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    files.save(folder / "snapshots" / commit / "model.safetensors", variables, name=NAME, layout="torchvision")
    assert_equal_trees(zoo.load(NAME, "hf:org/name"), variables)


def test_what_is_not_in_the_cache_is_one_clear_error_when_offline(offline):
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors from the hub's 'org/absent': ") as error:
        zoo.load(NAME, "hf:org/absent")
    assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"from the hub's 'no/such/name'"):
        zoo.load(NAME, "hf:no/such/name")
    with pytest.raises(FileNotFoundError, match=r"from the hub's 'timm/resnet18\.tv_in1k'"):
        zoo.load("resnet18")
