"""Every registered name: its published size, its endpoints, its fields. Structure only: nothing is computed."""

import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import pytest
from flax.traverse_util import flatten_dict

import zoo
from zoo.errors import UserError
from zoo.models import summary

every_model = pytest.mark.parametrize("name", zoo.list_models())
SMALLEST = {  # the smallest net of each class and size: what a class does with its fields is shown once
    (type(zoo.create(name)), zoo.variant(name).image_size): name
    for name in sorted(zoo.list_models(), key=lambda n: -zoo.variant(n).macs)
}
every_class = pytest.mark.parametrize("name", sorted(SMALLEST.values()))
# Where each net is traced a second time the rest of a class is slow: its rows differ in what the first trace shows.
every_model_twice = pytest.mark.parametrize(
    "name",
    [n if n in SMALLEST.values() else pytest.param(n, marks=pytest.mark.slow) for n in zoo.list_models()],
)


def traced(name: str, size: int | None = None, **fields):
    """Shapes of logits, endpoints and variables, for two images of the row's own size or of `size`."""
    row = zoo.variant(name)
    size = row.image_size if size is None else size
    images = jax.ShapeDtypeStruct((2, size, size, row.channels), jnp.float32)
    init = partial(zoo.create(name, **fields).init_with_output, train=False, endpoints=tuple(row.endpoints))
    (logits, ends), variables = jax.eval_shape(init, jax.random.key(0), images)
    return logits, ends, variables


published = cache(traced)
FLAT = ("mlp", "convnet", "convnet_bn", "lenet5", "lenet5_relu")  # a layer sees the whole map and grows with it
MORE = 32  # a multiple of every stride: maps grow by exactly MORE / stride


@cache
def summarised(name: str, more: int = 0, classes: int = 0):
    """Layers and endpoints for an image of the row's own size: a deep net takes seconds, whoever looks at it."""
    model, row = zoo.create(name), zoo.variant(name)
    shape = (row.image_size + more, row.image_size + more, row.channels)
    return summary.summarise(model.clone(num_classes=model.num_classes + classes), shape, tuple(row.endpoints))


@every_model
def test_model_has_the_published_number_of_parameters(name):
    assert sum(layer.params for layer in summarised(name)[0]) == zoo.variant(name).params


@every_class
def test_a_summary_counts_the_parameters_that_init_makes(name):
    made = flatten_dict(published(name)[2]["params"])
    counted = {layer.path: layer.params for layer in summarised(name)[0]}
    assert counted.keys() == {"/".join(path[:-1]) for path in made}
    assert sum(counted.values()) == sum(leaf.size for leaf in made.values())


@every_model
def test_model_has_the_published_number_of_multiply_adds(name):
    assert sum(layer.macs for layer in summarised(name)[0] if not layer.auxiliary) == zoo.variant(name).macs


@pytest.mark.parametrize(("name", "traces"), [("resnet20", 1), ("googlenet", 2)], ids=["plain", "auxiliary heads"])
def test_a_summary_traces_a_net_once_and_without_its_auxiliary_heads(name, traces, monkeypatch):
    model, called = zoo.create(name), []
    forward = type(model).forward
    monkeypatch.setattr(type(model), "forward", lambda *args, **kwargs: called.append(1) or forward(*args, **kwargs))
    layers, ends = summary.summarise(model, (64, 64, 3), ("stem", "features"))
    assert (len(called), list(ends)) == (traces, ["stem", "features"])
    assert any(layer.auxiliary for layer in layers) == (traces == 2)


@every_model
def test_endpoints_have_the_row_s_channels(name):
    row, ends = zoo.variant(name), summarised(name)[1]
    assert {end: ends[end][-1] for end in row.endpoints} == {end: width for end, (_, width) in row.endpoints.items()}
    assert row.paper


@every_model_twice
def test_endpoints_have_the_row_s_strides(name):
    row, ends, wider = zoo.variant(name), summarised(name)[1], summarised(name, MORE, 1)[1]
    found = {end: MORE // (wider[end][0] - ends[end][0]) if len(ends[end]) == 3 else 0 for end in row.endpoints}
    assert found == {end: stride for end, (stride, _) in row.endpoints.items()}


@every_model_twice
def test_heads_are_the_layers_whose_shape_depends_on_the_number_of_classes(name):
    row, larger = zoo.variant(name), 0 if name in FLAT else MORE
    one, other = (
        {layer.path: layer.params for layer in found[0]} for found in (summarised(name), summarised(name, larger, 1))
    )
    assert set(one) == set(other)
    assert sorted(path for path in one if one[path] != other[path]) == sorted(row.heads)
    assert row.aux_heads.keys() == row.aux_weights.keys()


@every_class
def test_training_writes_every_statistic_and_aux_heads_are_endpoints(name):
    row, (logits, _, variables) = zoo.variant(name), published(name)
    images = jax.ShapeDtypeStruct((2, row.image_size, row.image_size, row.channels), jnp.float32)
    settings = {"train": True, "mutable": ["batch_stats"], "rngs": {"dropout": jax.random.key(1)}}
    apply = partial(zoo.create(name).apply, endpoints=("features", *row.aux_weights), **settings)
    (_, heads), updates = jax.eval_shape(apply, variables, images)
    assert jax.tree.structure(updates.get("batch_stats", {})) == jax.tree.structure(variables.get("batch_stats", {}))
    assert all(heads[head].shape == logits.shape for head in row.aux_weights)


@every_class
def test_no_classes_returns_the_pooled_features(name):
    features, ends, _ = traced(name, num_classes=0)
    assert features.shape == ends["features"].shape == (2, zoo.variant(name).endpoints["features"][1])


@every_class
def test_computing_in_bfloat16_keeps_float32_parameters_and_statistics(name):
    logits, _, variables = traced(name, dtype=jnp.bfloat16)
    assert logits.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@every_class
def test_stored_type_of_the_parameters_is_the_model_s(name):
    _, _, variables = traced(name, param_dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables.get("batch_stats", {}))} <= {jnp.dtype("float32")}


@every_class
def test_smallest_size_works_and_one_pixel_less_is_refused(name):
    model = zoo.create(name)
    logits, ends, _ = traced(name, model.min_size)
    assert logits.shape == (2, model.num_classes)
    assert all(0 not in end.shape for end in ends.values()), "a map has no pixel"
    if model.min_size > 1:
        with pytest.raises(UserError, match=re.escape(f"at least {model.min_size}x{model.min_size}")):
            traced(name, model.min_size - 1)


def test_models_with_published_weights_are_listed_alone():
    assert zoo.list_models(pretrained=True) == [name for name in zoo.list_models() if zoo.variant(name).weights]
    assert zoo.list_models("wide_*", pretrained=True) == ["wide_resnet50_2", "wide_resnet101_2"]
    assert zoo.list_models("resnet20", pretrained=True) == []


@pytest.mark.parametrize(
    ("name", "top1", "top5", "resized"),  # torchvision 0.28, IMAGENET1K_V1 of each
    [
        ("resnext50_32x4d", 77.618, 93.698, 256),
        ("resnext101_32x8d", 79.312, 94.526, 256),
        ("resnext101_64x4d", 83.246, 96.454, 232),
        ("wide_resnet50_2", 78.468, 94.086, 256),
        ("wide_resnet101_2", 78.848, 94.284, 256),
    ],
)
def test_published_figures_are_torchvision_s_on_pictures_of_its_size(name, top1, top5, resized):
    weights = zoo.variant(name).weights
    assert weights.source == f"hf:timm/{name}.tv_in1k"
    assert (weights.top1, weights.top5) == (pytest.approx(top1, abs=0.0051), pytest.approx(top5, abs=0.0051))
    assert weights.preprocessing.resized_shape(500, 500) == (resized, resized)
    assert weights.preprocessing.image_shape == (224, 224, 3)


@pytest.mark.parametrize(
    ("name", "recipe", "top1", "top5", "resized", "size"),  # results-imagenet.csv of timm's repository
    [
        ("resnetv2_50", "resnetv2_50.a1h", 81.398, 95.726, 288, 288),
        ("resnetv2_101", "resnetv2_101.a1h", 83.002, 96.454, 288, 288),
        ("seresnet50", "seresnet50.ra2", 81.284, 95.652, 303, 288),
        ("seresnext50_32x4d", "seresnext50_32x4d.racm", 82.196, 96.148, 303, 288),
        ("resnet50d", "resnet50d.ra2", 81.356, 95.738, 303, 288),
        ("inception_v4", "inception_v4.tf", 80.156, 94.968, 341, 299),
        ("inception_resnet_v2", "inception_resnet_v2.tf", 80.462, 95.308, 333, 299),
        ("xception", "legacy_xception.tf", 79.040, 94.382, 333, 299),
        ("mobilenet_v2", "mobilenetv2_100.ra", 72.976, 91.010, 256, 224),
    ],
)
def test_published_figures_of_timm_s_own_are_on_pictures_of_timm_s_size(name, recipe, top1, top5, resized, size):
    weights = zoo.variant(name).weights
    assert weights.source == f"hf:timm/{recipe}_in1k"
    assert (weights.top1, weights.top5) == (pytest.approx(top1, abs=0.0051), pytest.approx(top5, abs=0.0051))
    assert weights.preprocessing.resized_shape(500, 500) == (resized, resized)
    assert weights.preprocessing.image_shape == (size, size, 3)


def test_names_are_listed_in_natural_order_and_matched_by_shell_patterns():
    names = zoo.list_models("resnet*")
    assert names.index("resnet50") < names.index("resnet101")
    assert zoo.list_models("no-such-*") == []
    assert len(zoo.list_models()) == len(set(zoo.list_models()))


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        *[("resnet_50", "resnet50"), ("ResNet-18", "resnet18"), ("lenet", "lenet5"), ("VGG16", "vgg16")],
        *[
            ("resnet21", "resnet20"),
            ("resnet33", "resnet32"),
            ("resnet151", "resnet152"),
            ("vgg15", "vgg16"),
            ("resnet", "resnet18"),
        ],
        *[("densenet120", "densenet121"), ("preresnet21", "preresnet20"), ("densenet100", "densenet100_k12_bc")],
    ],
)
def test_unknown_model_suggests_the_nearest_name(wrong, near):
    with pytest.raises(UserError, match=f"did you mean '{near}'") as caught:
        zoo.create(wrong)
    assert (caught.value.code, caught.value.context) == ("unknown-model", {"near": near})


def test_unknown_field_lists_the_model_s_fields():
    with pytest.raises(UserError, match=r"no field 'classes': it has .*num_classes"):
        zoo.create("resnet20", classes=10)


@pytest.mark.parametrize("a", [1, 2])
@pytest.mark.parametrize("norm", [None, "before_activation", "after_activation"])
def test_the_pattern_has_the_layers_its_letters_say(a, norm):
    b, c, d = 2, 3, 2
    layers = summary.layers(zoo.create("convnet", a=a, b=b, c=c, d=d, width=4, norm=norm), (32, 32, 3))
    count = {name: sum(layer.type == name for layer in layers) for name in ("Conv", "Linear", "BatchNorm")}
    assert count == {"Conv": a * b * c, "Linear": d, "BatchNorm": b * c if norm else 0}
    assert [layer.shape[0] for layer in layers if layer.type == "Conv"] == [32] * a * b + [16] * a * b + [8] * a * b


@pytest.mark.parametrize("wrong", [{"a": 0}, {"d": 0}, {"c": -1}, {"norm": "after"}])
def test_a_pattern_that_makes_no_net_is_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        zoo.create("convnet", **wrong)
