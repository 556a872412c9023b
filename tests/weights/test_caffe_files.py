"""Files of Caffe's, written by Google's protobuf; and what is cut off or made up."""

import numpy as np
import pytest

from tests.support.caffe_files import net_parameter, write
from zoo.errors import UserError
from zoo.weights import read

RNG = np.random.default_rng(0)
KERNEL, DENSE, ROW = (RNG.standard_normal(shape, np.float32) for shape in ((3, 2, 2, 2), (3, 8), (3,)))
SUMS = [RNG.standard_normal(3, np.float32) for _ in range(2)]
LAYERS = [("conv1", "Convolution", [KERNEL, ROW]), ("relu", "ReLU", []), ("a/fc.8", "InnerProduct", [DENSE, ROW])]


def assert_read(path, expected):
    found = read(path)
    assert found.keys() == expected.keys()
    for key, array in found.items():
        np.testing.assert_array_equal(array, expected[key], err_msg=key, strict=True)


@pytest.mark.parametrize("old", [False, True])
def test_layers_of_both_formats_are_read_by_torch_s_words(old, tmp_path):
    path = write(tmp_path / "net.caffemodel", LAYERS, old=old)
    named = {"conv1.weight": KERNEL, "conv1.bias": ROW, "a/fc.8.weight": DENSE, "a/fc.8.bias": ROW}
    assert_read(path, named)


def test_a_normalisation_is_two_layers_whose_statistics_are_sums(tmp_path):
    count = np.array([4.0], np.float32)
    layers = [
        ("conv", "Convolution", [KERNEL]),
        ("bn", "BatchNorm", [*SUMS, count]),
        ("scale", "Scale", [ROW, 2 * ROW]),
        ("empty", "BatchNorm", [*SUMS, 0 * count]),
        ("unknown", "BN", [ROW, ROW]),
    ]
    expected = {"conv.weight": KERNEL, "bn.running_mean": SUMS[0] / 4, "bn.running_var": SUMS[1] / 4}
    expected |= {"bn.weight": ROW, "bn.bias": 2 * ROW, "empty.running_mean": 0 * ROW, "empty.running_var": 0 * ROW}
    expected |= {"unknown.blobs.0": ROW, "unknown.blobs.1": ROW}
    found = read(write(tmp_path / "net.caffemodel", layers))
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_allclose(found[key], array, rtol=1e-6, err_msg=key)


def test_doubles_and_numbers_that_are_not_packed_are_read(tmp_path):
    path = write(tmp_path / "net.caffemodel", [("conv", "Convolution", [KERNEL.astype(np.float64)])])
    assert_read(path, {"conv.weight": KERNEL.astype(np.float64)})
    blob = b"".join(b"\x2d" + number.tobytes() for number in ROW[:2]) + b"\x3a\x04\x08\x02\x08\x01"  # shape 2x1
    layer = b"\x0a\x02ip\x12\x0cInnerProduct\x3a" + bytes([len(blob)]) + blob
    path.write_bytes(b"\xa2\x06" + bytes([len(layer)]) + layer)
    assert len(net_parameter().FromString(path.read_bytes()).layer) == 1
    assert_read(path, {"ip.weight": ROW[:2].reshape(2, 1)})


def test_a_file_cut_off_anywhere_is_one_line_or_has_fewer_layers(tmp_path):
    path = write(tmp_path / "net.caffemodel", LAYERS)
    content = path.read_bytes()
    found, messages = [], set()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        try:
            found.append(len(read(path)))
        except UserError as error:
            messages.add(str(error))
    assert found == [2, 2]  # where the convolution ends, and the ReLU
    assert all("net.caffemodel cannot be read, nothing was loaded: " in message for message in messages)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "has no layers with weights"),
        (b"no file of Caffe's", "cannot be read"),
        (b"\x80" * 20, "a number of more than 64 bits"),
        (b"\x0b", "a kind that protocol buffers do not have"),
        (b"\xa2\x06\xff\xff\xff\xff\x7f", "cut off"),
        (b"\x10\x01", "a number where there should be"),
    ],
)
def test_what_is_no_net_is_refused(content, reason, tmp_path):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(content)
    with pytest.raises(UserError, match=reason):
        read(path)


def test_a_blob_that_is_not_as_large_as_it_says_is_refused_unmade(tmp_path):
    path = write(tmp_path / "net.caffemodel", [("conv", "Convolution", [KERNEL])])
    net = net_parameter().FromString(path.read_bytes())
    net.layer[0].blobs[0].shape.dim[:] = [1 << 40, 1 << 40]
    path.write_bytes(net.SerializeToString())
    with pytest.raises(UserError, match="has 24 numbers, not the 1099511627776x1099511627776 that it says"):
        read(path)


def test_two_layers_of_one_name_are_refused(tmp_path):
    path = write(tmp_path / "net.caffemodel", [LAYERS[0], LAYERS[0]])
    with pytest.raises(UserError, match=r"two arrays in it are conv1\.weight"):
        read(path)
