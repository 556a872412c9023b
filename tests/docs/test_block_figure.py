"""The figures of the pages per family: what is drawn is what the model does."""

import itertools
import xml.etree.ElementTree as ET

import flax.linen as nn
import jax.numpy as jnp
import pytest
from family_pages.block_figure import draw_block
from family_pages.net_figure import draw_net
from family_pages.series_parallel import Parallel, Sequence, arrange
from family_pages.table import FAMILIES, Family
from family_pages.tracing import IMAGES, Node, trace, trace_model

import zoo
from zoo.layers import Conv, max_pool
from zoo.models import Net, densenet, inception_resnet, resnet, summary

SVG = "{http://www.w3.org/2000/svg}"


def branches(sequence: Sequence) -> list[Parallel]:
    return [item for item in sequence if isinstance(item, Parallel)]


def only(nodes: dict[str, Node], kind: str) -> Node:
    (node,) = (node for node in nodes.values() if node.kind == kind)
    return node


def test_shortcut_of_a_bottleneck_leads_from_its_input_to_its_addition():
    nodes = trace("resnet50").block("layer2_1")
    assert only(nodes, "add").inputs == ["layer2_1/bn3", only(nodes, IMAGES).name]
    (fork,) = branches(arrange(nodes))
    assert [len(branch) for branch in fork.branches] == [3, 0]


def test_bottleneck_that_changes_the_shape_projects_its_shortcut():
    nodes = trace("resnet50").block("layer2_0")
    assert only(nodes, "add").inputs == ["layer2_0/bn3", "layer2_0/downsample_1"]
    assert nodes["layer2_0/downsample_0"].inputs == [only(nodes, IMAGES).name]
    assert nodes["layer2_0/downsample_0"].label == "1×1 conv, stride 2"


def test_groups_of_a_resnext_are_named():
    assert trace("resnext50_32x4d").nodes["layer2_0/conv2"].label == "3×3 conv, 32 groups, stride 2"


def test_channels_are_weighted_on_a_way_of_its_own_inside_of_the_branch():
    nodes = trace("seresnet50").block("layer2_1")
    assert only(nodes, "scale").inputs[0] == "layer2_1/bn3"
    (fork,) = branches(arrange(nodes))
    branch, identity = fork.branches
    assert identity == ()
    (weights,) = branches(branch)
    assert [len(way) for way in weights.branches] == [3, 0]  # the mean, two layers; the maps themselves


def test_shortcut_of_resnet_d_averages_before_it_projects():
    nodes = trace("resnet50d").block("layer2_0")
    (pool,) = nodes["layer2_0/downsample_1"].inputs
    assert nodes[pool].label == "2×2 avg pool, stride 2"
    assert nodes["layer2_0/downsample_1"].label == "1×1 conv"


def test_inception_module_has_four_branches_into_one_concatenation():
    nodes = trace("googlenet").block("inception3a")
    assert len(only(nodes, "concat").inputs) == 4
    source, fork, last = arrange(nodes)
    assert [node.kind for node in (*source.nodes, *last.nodes)] == [IMAGES, "concat"]
    assert [len(branch) for branch in fork.branches] == [1, 2, 2, 2]


def test_branches_that_fork_are_forks_inside_of_branches():
    (fork,) = branches(arrange(trace("inception_v3").block("Mixed_7b")))
    assert [len(branches(branch)) for branch in fork.branches] == [0, 1, 1, 0]


def test_dense_layer_concatenates_its_input_and_its_maps():
    model = densenet.CifarDenseNet(growth=12, depths=(2, 2, 2), stem=24)
    nodes = trace_model(model, (32, 32, 3), ("stem",)).block("denseblock1_denselayer1")
    source = only(nodes, IMAGES)
    assert only(nodes, "concat").inputs == [source.name, "denseblock1_denselayer1/conv2"]
    assert only(nodes, "concat").shape == (32, 32, 24 + 12)


def test_residual_of_an_inception_is_scaled():
    graph = trace_model(inception_resnet.V2(depths=(1, 1, 1)), (299, 299, 3), ("stem",))
    assert only(graph.block("repeat_0"), "scale").label == "× 0.17"


def test_head_of_training_stands_beside_the_net():
    graph = trace("googlenet")
    assert graph.auxiliary == {"aux1", "aux2"}
    assert graph.nodes["aux1/conv/conv"].stage == "aux1"


@pytest.mark.parametrize("name", ["lenet5", "googlenet"])
def test_layers_and_shapes_are_those_of_the_summary(name: str):
    row, graph = zoo.variant(name), trace(name)
    layers = summary.layers(zoo.create(name), (row.image_size, row.image_size, row.channels))
    nodes = [graph.nodes[path] for path in graph.nodes.keys() & graph.classes.keys()]
    found = {node.path: (node.shape, node.params, node.macs) for node in nodes}
    assert found == {layer.path: (layer.shape, layer.params, layer.macs) for layer in layers}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.slug)
def test_family_is_drawn(family: Family):
    graph, row = trace(family.example), zoo.variant(family.example)
    nodes = graph.nodes.values()
    assert sum(node.params for node in nodes) == row.params
    assert sum(node.macs for node in nodes if node.stage not in graph.auxiliary) == row.macs
    assert set(graph.stages) == {*row.endpoints, *row.aux_heads, "logits"}
    root = ET.fromstring(draw_net(graph, ""))
    assert set(graph.stages) <= {text.text for text in root.iter(f"{SVG}text")}
    check_boxes(root, ["stage"] * len(graph.stages) + [IMAGES])
    for drawing in family.drawings:
        kinds = [node.kind for node in drawing.nodes.values()]
        assert "other" not in kinds
        check_boxes(ET.fromstring(draw_block(drawing.nodes, drawing.caption)), kinds)


def check_boxes(root: ET.Element, kinds: list[str]) -> None:
    """A figure has one box of each of these kinds; they lie inside its frame and beside each other."""
    boxes = [box for box in root.iter(f"{SVG}rect") if box.get("class") in kinds]
    assert sorted(box.get("class") for box in boxes) == sorted(kinds)
    corners = [[float(box.get(side)) for side in ("x", "y", "width", "height")] for box in boxes]
    spans = [((x, x + width), (y, y + height)) for x, y, width, height in corners]
    for (left, right), (top, bottom) in spans:
        assert left >= 0
        assert top >= 0
        assert right <= float(root.get("width"))
        assert bottom <= float(root.get("height"))
    for (across, down), (others_across, others_down) in itertools.combinations(spans, 2):
        assert min(across[1], others_across[1]) - max(across[0], others_across[0]) < 0.2 or (
            min(down[1], others_down[1]) - max(down[0], others_down[0]) < 0.2
        )


def test_a_lost_identity_is_seen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        resnet, "project_shortcut", lambda x, features, *_, **__: jnp.zeros(features).reshape(1, 1, 1, -1)
    )
    model = resnet.ResNet(resnet.Bottleneck, (2,), small=True)
    nodes = trace_model(model, (32, 32, 3), ("layer1",)).block("layer1_1")
    assert only(nodes, "add").inputs == ["layer1_1/bn3"]
    assert not branches(arrange(nodes))


class Odd(Net):
    """Two pools on two lines, and branches that cross: b reads both halves, and so does the end."""

    @nn.compact
    def forward(self, x, *, train):
        x = max_pool(x, 2, 2)
        x = max_pool(x, 2, 2)
        a, b = Conv(4, 1, name="a")(x), Conv(4, 1, name="b")(x)
        c = Conv(4, 1, name="c")(a + b)
        return nn.relu(c + a).mean((1, 2)), {}


def test_two_pools_are_two_boxes_and_crossing_branches_an_error():
    graph = trace_model(Odd(), (8, 8, 3), ())
    assert [node.kind for node in graph.nodes.values()].count("pool") == 2
    with pytest.raises(ValueError, match="branches cross"):
        arrange(graph.stage("logits"))
