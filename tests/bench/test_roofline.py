"""The work of a step is the published multiply-adds; matrix rate and bandwidth are rates."""

import math

import pytest

import zoo
from zoo.bench import Job, roofline


def work(model, mode, size):
    return roofline.count_work(Job("", model, mode, 4, size, "float32", (0,)))


@pytest.mark.parametrize("name", ["resnet20", "googlenet"])
def test_inference_is_two_operations_a_published_multiply_add(name):
    row = zoo.variant(name)
    assert work(name, "infer", row.image_size) == 4 * 2 * row.macs


def test_training_is_three_times_that_with_the_auxiliary_heads():
    assert work("resnet20", "train", 32) == 3 * work("resnet20", "infer", 32)
    # each head: 1x1 convolution of 4x4 maps to 128, a dense layer to 1024, one to 1000
    heads = sum(16 * inputs * 128 + 2048 * 1024 + 1024 * 1000 for inputs in (512, 528))
    assert work("googlenet", "train", 224) == 3 * (work("googlenet", "infer", 224) + 4 * 2 * heads)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_matrix_rate_is_measured_in_the_type_that_is_asked_for(dtype):
    assert 0 < roofline.measure_matrix_rate(dtype, side=64) < math.inf


def test_the_bandwidth_is_measured_over_as_many_bytes_as_asked_for():
    assert 0 < roofline.measure_bandwidth(size=2**16) < math.inf
