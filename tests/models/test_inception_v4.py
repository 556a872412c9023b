"""Inception v4: the paper's figure, and a size that no fixture has against timm."""

import pytest

import zoo
from tests.support.live import compare, reference
from zoo.models import summary

TEN = {"num_classes": 10}


def test_maps_are_those_of_figure_9():
    figure = {"stem": (35, 35, 384), "inception_a": (35, 35, 384), "inception_b": (17, 17, 1024)}
    figure |= {"inception_c": (8, 8, 1536), "features": (1536,)}
    assert summary.endpoints(zoo.create("inception_v4"), (299, 299, 3), tuple(figure)) == figure


@pytest.mark.parity
def test_inception_v4_equals_timm():
    compare(reference("timm/inception_v4", **TEN), "inception_v4", (3, 123, 155, 3), layout="timm", fields=TEN)
