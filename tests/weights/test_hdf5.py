"""Keras's files, made by h5py as Keras makes them; what points outside a file, or unpacks to too much, is refused."""

import sys
import zipfile

import numpy as np
import pytest

from zoo.weights import files

KERNEL, ROW = np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3), np.arange(3, dtype=np.float32)


def write(path, arrays, attributes=()):
    import h5py

    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array
        for group, name in dict(attributes).items():
            file[group].attrs["name"] = name
    return path


def assert_read(path, expected):
    found = files.read(path)
    assert found.keys() == expected.keys()
    for key, array in found.items():
        np.testing.assert_array_equal(array, expected[key], strict=True)


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("block1_conv1/block1_conv1_W_1:0", "block1_conv1/kernel"),
        ("block1_conv1/block1_conv1_b_1:0", "block1_conv1/bias"),
        ("conv1_bn/conv1_bn/gamma:0", "conv1_bn/gamma"),
        ("conv2d_7/conv2d_7/kernel", "conv2d_7/kernel"),
        ("model_weights/bn/bn/moving_variance:0", "bn/moving_variance"),
        ("resnet50/conv1_conv/kernel:0", "conv1_conv/kernel"),
    ],
    ids=["Keras 1", "Keras 1 bias", "Keras 2", "Keras 3", "whole model", "net in a net"],
)
def test_names_of_all_versions_are_read(tmp_path, written, key):
    arrays = {written: ROW, "optimizer_weights/iteration:0": np.zeros(1, np.float32), "dropout/seed": np.zeros(2, "u4")}
    assert_read(write(tmp_path / "w.h5", arrays), {key: ROW})


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_arrays_numbered_by_keras_3_are_named_after_the_layer_that_it_notes(tmp_path, suffix):
    arrays = {
        **{"layers/conv2d_1/vars/0": KERNEL, "layers/conv2d_1/vars/1": ROW},
        **{f"layers/batch_normalization/vars/{i}": ROW + i for i in range(4)},
        **{f"layers/batch_normalization_1/vars/{i}": ROW + i for i in range(3)},
    }
    names = {
        "layers/conv2d_1": "stem",
        "layers/batch_normalization": "bn",
        "layers/batch_normalization_1": "bn_without_scale",
    }
    path = write(tmp_path / "model.weights.h5", arrays, names)
    if suffix == ".keras":
        with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
            archive.write(path, path.name)
        path = tmp_path / "net.keras"
    leaves = ("gamma", "beta", "moving_mean", "moving_variance")
    expected = {"stem/kernel": KERNEL, "stem/bias": ROW}
    expected |= {f"bn/{leaf}": ROW + i for i, leaf in enumerate(leaves)}
    expected |= {f"bn_without_scale/{leaf}": ROW + i for i, leaf in enumerate(leaves[1:])}
    assert_read(path, expected)


def test_numbered_arrays_without_a_layer_s_name_are_refused(tmp_path):
    path = write(tmp_path / "w.h5", {"layers/conv2d/vars/0": KERNEL})
    with pytest.raises(ValueError, match=r"does not name its layers: load it in Keras and save it again as \.h5"):
        files.read(path)


@pytest.mark.parametrize("kind", ["link", "soft link", "raw data", "virtual", "cycle"])
def test_a_file_that_points_elsewhere_is_refused(tmp_path, kind):
    import h5py

    other = write(tmp_path / "other.h5", {"conv/kernel": KERNEL})
    with h5py.File(tmp_path / "w.h5", "w") as file:
        if kind == "link":
            file["conv"] = h5py.ExternalLink(other.name, "conv")
        elif kind == "soft link":
            file["conv"] = h5py.SoftLink("/nowhere")
        elif kind == "raw data":
            file.create_dataset("conv", (3,), np.float32, external=[(str(other), 0, 12)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((2, 2, 2, 3), np.float32)
            layout[...] = h5py.VirtualSource(str(other), "conv/kernel", (2, 2, 2, 3))
            file.create_virtual_dataset("conv", layout)
        else:
            file.create_group("conv")["again"] = file
    with pytest.raises(ValueError, match=r"w\.h5 cannot be read, nothing was loaded: (conv|again) "):
        files.read(tmp_path / "w.h5")


def test_files_that_unpack_to_more_than_they_should_are_refused_unread(tmp_path):
    import h5py

    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("conv/kernel", (1 << 40,), np.float32, chunks=(1 << 20,), compression="gzip")
    with zipfile.ZipFile(tmp_path / "w.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(1 << 24))
    for name in ("w.h5", "w.keras"):
        with pytest.raises(ValueError, match=rf"{name} cannot be read.*more than 100 times its size"):
            files.read(tmp_path / name)


def test_damaged_files_are_one_line(tmp_path):
    good = write(tmp_path / "w.h5", {"conv/conv/kernel:0": KERNEL}).read_bytes()
    for content in (b"", b"no file of HDF5", good[: len(good) // 2]):
        (tmp_path / "w.h5").write_bytes(content)
        with pytest.raises(ValueError, match=r"w\.h5 cannot be read, nothing was loaded"):
            files.read(tmp_path / "w.h5")
    (tmp_path / "w.keras").write_bytes(good)
    with pytest.raises(ValueError, match=r"w\.keras cannot be read, nothing was loaded"):
        files.read(tmp_path / "w.keras")


def test_without_h5py_the_message_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path / "w.h5", {"conv/conv/kernel:0": KERNEL})
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'jax-cnn-zoo\[keras\]'"):
        files.read(path)
