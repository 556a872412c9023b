"""Files of torch.save: what torch itself reads of them, without it, and nothing in them is run."""

import io
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from tests.support import torch_files
from tests.support.torch_files import FOLDER, NET, arrays
from zoo.errors import UserError
from zoo.weights import files, read
from zoo.weights.torch_files import MAGIC, open_torch_file


def assert_equal_arrays(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, array in theirs.items():
        np.testing.assert_array_equal(ours[key], array, err_msg=key, strict=True)


@pytest.fixture(autouse=True)
def without_torch(request, monkeypatch):
    if "parity" not in request.keywords:
        monkeypatch.setitem(sys.modules, "torch", None)


@pytest.mark.parametrize("name", ["new.pth", "old.pth", "pytorch_model.bin"])
def test_a_state_dict_is_read_without_torch(name):
    assert_equal_arrays(read(FOLDER / name), arrays())


@pytest.mark.parametrize("name", ["model_best.pth.tar", "epoch=3.ckpt"])
def test_of_a_training_script_s_checkpoint_the_state_dict_is_read(name):
    assert files.list_parts(FOLDER / name) == ["state_dict", "state_dict_ema"]
    assert_equal_arrays(read(FOLDER / name), {f"module.{k}": v for k, v in NET.items()})
    averaged = {"n_averaged": np.array(0, np.int64)} | {f"module.{k}": v for k, v in NET.items()}
    assert_equal_arrays(read(f"{FOLDER / name}#state_dict_ema"), averaged)


def test_of_a_whole_net_the_tensors_are_read_that_its_state_dict_has():
    assert_equal_arrays(read(FOLDER / "whole.pt"), NET)


@pytest.mark.parity
def test_torch_reads_the_same_of_files_that_it_writes_now(tmp_path):
    import torch

    torch_files.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in FOLDER.iterdir()}
    for path in (*tmp_path.iterdir(), *FOLDER.iterdir()):
        content = torch.load(path, weights_only=False)
        parts = {f"#{part}": content[part] for part in files.list_parts(path)} or {"": content}
        for part, state in parts.items():
            state = state if isinstance(state, dict) else state.state_dict()
            ours = read(f"{path}{part}")
            assert ours.keys() == state.keys()
            for key, tensor in state.items():
                assert str(tensor.dtype) == f"torch.{ours[key].dtype}"
                np.testing.assert_array_equal(ours[key].astype(np.float64), tensor.detach().double().numpy())


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # torch's own of TorchScript
def test_of_files_with_programs_in_them_the_tensors_are_read_or_the_message_says_how(tmp_path):
    torch_files.write_sources(tmp_path)
    assert_equal_arrays(read(tmp_path / "whole_old.pt"), NET)
    with pytest.raises(UserError, match=r"script\.pt cannot be read.*TorchScript: torch\.jit\.load\(FILE\)"):
        read(tmp_path / "script.pt")


@pytest.mark.parity
def test_half_of_the_shapes_in_the_world(tmp_path):
    """Strides, offsets and expanded axes, of tensors that share their storage."""
    import torch

    base = torch.arange(120, dtype=torch.float32).reshape(2, 3, 4, 5)
    state = {
        "channels last": base.contiguous(memory_format=torch.channels_last),
        "every other": base[:, ::2, 1:, ::2],
        "expanded": base[0, 0, 0, :1].expand(7, 3, 1),
        "one": base[1, 2, 3, 4],
        "permuted": base.permute(3, 1, 0, 2),
    }
    for new in (True, False):
        torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=new)
        assert_equal_arrays(read(tmp_path / "w.pth"), {k: v.numpy() for k, v in state.items()})


class Storage:
    def __init__(self, kind: str, key: str, count: int):
        self.pid = ("storage", Named("torch", kind), key, "cpu", count)


class Named:
    """Is pickled as a name, whether there is such a thing or not."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name


class Call:
    """Is pickled as a call."""

    def __init__(self, what, *arguments, state=None):
        self.what, self.arguments, self.state = what, arguments, state


class Pickler(pickle._Pickler):
    """Writes what no program would."""

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Storage) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Named):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.what)
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
            if obj.state is not None:
                self.save(obj.state)
                self.write(pickle.BUILD)
        else:
            super().save(obj, save_persistent_id)


def dump(content) -> bytes:
    file = io.BytesIO()
    Pickler(file, protocol=2).dump(content)
    return file.getvalue()


def tensor(shape=(2,), strides=(1,), offset=0, count=2, key="0", kind="FloatStorage", **call):
    storage = Storage(kind, key, count)
    return Call(
        Named("torch._utils", "_rebuild_tensor_v2"), storage, offset, shape, strides, False, OrderedDict(), **call
    )


def write_new(path: Path, content, numbers=b"\0\0\x80?\0\0\0@", compression=zipfile.ZIP_STORED, **members) -> Path:
    pickled = content if isinstance(content, bytes) else dump(content)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in {"data.pkl": pickled, "data/0": numbers, **members}.items():
            archive.writestr(f"archive/{name}", data)
    return path


def write_old(path: Path, content, keys=("0",), count=2, numbers=b"\0\0\x80?\0\0\0@") -> Path:
    parts = [MAGIC, 1001, {"little_endian": True}, content, list(keys)]
    path.write_bytes(b"".join(map(dump, parts)) + struct.pack("<q", count) + numbers)
    return path


@pytest.mark.parametrize("write", [write_new, write_old])
def test_files_made_by_hand_are_read_where_nothing_is_wrong_with_them(tmp_path, write):
    path = write(tmp_path / "w.pth", {"a": tensor(state={"offset": 5}), "b": tensor((), (), 1)})
    assert_equal_arrays(read(path), {"a": np.array([1, 2], np.float32), "b": np.array(2, np.float32)})


@pytest.mark.parametrize("write", [write_new, write_old])
@pytest.mark.parametrize(
    "bad",
    [
        tensor((3,)),
        tensor(offset=1),
        tensor(offset=-1),
        tensor(strides=(-1,)),
        tensor((2**40,), (1,)),
        tensor((2**62, 2**62), (0, 0)),
        tensor((-1,)),
        tensor((2, 2)),
        tensor("ab", "cd"),
        tensor(offset=0.5),
        tensor(key="1"),
        tensor(key="../0"),
        tensor(kind="DoubleStorage"),
    ],
)
def test_a_tensor_never_reaches_beyond_its_numbers(tmp_path, write, bad):
    with pytest.raises(UserError, match="cannot be read, nothing was loaded: ") as error:
        read(write(tmp_path / "w.pth", {"a": bad}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("restored", [{"offset": 2**40}, (None, {"offset": 2**40}), [None, 2**40, (9,), (9,)]])
def test_a_tensor_cannot_be_changed_after_it_was_made(tmp_path, restored):
    path = write_new(tmp_path / "w.pth", {"a": tensor(state=restored)})
    np.testing.assert_array_equal(read(path)["a"], [1, 2])


RUNS = {
    "os.mkdir": lambda trace: Call(Named("os", "mkdir"), trace),
    "posix.mkdir": lambda trace: Call(Named("posix", "mkdir"), trace),
    "eval": lambda trace: Call(Named("builtins", "eval"), f"__import__('os').mkdir({trace!r})"),
    "an attribute": lambda trace: Call(Call(Named("builtins", "getattr"), Named("os", "x"), "mkdir"), trace),
    "dotted": lambda trace: Call(Named("torch", "serialization.os.mkdir"), trace),
    "a list's": lambda trace: Call(Named("builtins", "map"), Named("os", "mkdir"), [trace]),
}


@pytest.mark.parametrize("make", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("write", [write_new, write_old])
def test_nothing_in_a_file_is_run(tmp_path, write, make):
    trace = tmp_path / "trace"
    path = write(tmp_path / "w.pth", {"state_dict": {"a": tensor()}, "args": make(str(trace))})
    np.testing.assert_array_equal(read(path)["a"], [1, 2])
    with pytest.raises(UserError, match=r"holds no state dict .*, but .*, whose code is not run: where it was made"):
        read(write(path, {"a": make(str(trace)), "tensors": [tensor()]}))
    assert not trace.exists()


@pytest.mark.parametrize("known", ["torch._utils _rebuild_tensor_v2", "collections OrderedDict", "torch FloatStorage"])
def test_what_is_known_cannot_be_changed_by_a_file(tmp_path, known):
    """The state `(None, {"x": 1})` makes Python's own pickle set the attribute x of whatever comes before it."""
    content = dump(Named(*known.split()))[:-1] + dump((None, {"x": 1}))[2:-1] + pickle.BUILD + pickle.STOP
    with open_torch_file(write_new(tmp_path / "w.pth", content)) as file:
        assert not hasattr(file.content, "x")


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",  # a buffer of a terabyte
        b"\x80\x02r\xff\xff\xff\xff.",  # a memo of four thousand million places
        b"\x80\x02}r\xff\xff\xff\xff.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc.",  # bytes that are not there
        b"\x80\x02\x82\x01.",  # a registered extension
        b"\x80\x02" + b"(" * 10**5,
        b"L" + b"9" * 10**6 + b"L\n.",  # a number of a million digits
        b"",
        b".",
    ],
)
def test_a_pickle_that_would_exhaust_the_machine_is_one_line(tmp_path, program):
    for path in (write_new(tmp_path / "new.pth", program), tmp_path / "old.pth"):
        if path.name == "old.pth":
            path.write_bytes(b"".join(map(dump, [MAGIC, 1001, {"little_endian": True}])) + program)
        with pytest.raises(UserError, match="cannot be read, nothing was loaded: "):
            read(path)


def test_an_operation_that_may_do_anything_is_named(tmp_path):
    with pytest.raises(UserError, match="has an operation that is not carried out here"):
        read(write_new(tmp_path / "w.pth", b"\x80\x02\x82\x01."))


def test_modules_that_hold_themselves_and_names_without_end_are_one_line(tmp_path):
    module = Call(Named("torch.nn", "Module"), state={"_modules": {}, "_parameters": {"w": tensor()}})
    for _ in range(100):
        module = Call(Named("torch.nn", "Module"), state={"_modules": {"inner" * 4: module}})
    with pytest.raises(UserError, match="nested too deeply"):
        read(write_new(tmp_path / "w.pth", module))
    loop = b"\x80\x02ca\nb\n)Rq\x00}(X\x08\x00\x00\x00_modules}X\x01\x00\x00\x00ah\x00sub."
    with pytest.raises(UserError, match="holds no state dict"):
        read(write_new(tmp_path / "w.pth", loop))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    with pytest.raises(UserError, match="more than 100 times its size"):
        read(write_new(tmp_path / "w.pth", {"a": tensor()}, bytes(10**7), zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize("cut", [0, 1, 2, 100, -1, -9])
@pytest.mark.parametrize("name", ["new.pth", "old.pth", "model_best.pth.tar", "epoch=3.ckpt"])
def test_a_truncated_file_is_one_line(tmp_path, name, cut):
    path = tmp_path / name
    path.write_bytes((FOLDER / name).read_bytes()[:cut])
    with pytest.raises(UserError, match="cannot be read, nothing was loaded: ") as error:
        read(path)
    assert "\n" not in str(error.value)


def test_a_flipped_byte_of_the_numbers_is_noticed(tmp_path):
    content = bytearray((FOLDER / "new.pth").read_bytes())
    place = content.index(np.array([0, 0.125, 0.25], np.float32).tobytes())
    content[place] ^= 1
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UserError, match="CRC"):
        read(tmp_path / "w.pth")


def test_what_torch_did_not_write_is_named(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.zeros(1))
    for content in (pickle.dumps({"a": 1}), b"hello", (tmp_path / "w.npz").read_bytes()):
        (tmp_path / "w.pth").write_bytes(content)
        with pytest.raises(UserError, match=r"it is not a file of torch\.save"):
            read(tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"a program in TorchScript: torch\.jit\.load\(FILE\)\.state_dict\(\) has"):
        read(write_new(tmp_path / "w.pth", {"a": tensor()}, **{"code/__torch__.py": b""}))
    with pytest.raises(UserError, match="big-endian"):
        read(write_new(tmp_path / "w.pth", {"a": tensor()}, byteorder=b"big"))


def test_the_trace_of_a_directory_is_what_the_calls_would_leave(tmp_path):
    """The hostile pickles do what they say where a pickle is run."""
    for i, make in enumerate(RUNS[name] for name in ("os.mkdir", "posix.mkdir", "eval")):
        trace = tmp_path / str(i)
        pickle.loads(dump(make(str(trace))))
        assert os.path.isdir(trace)  # noqa: PTH112
