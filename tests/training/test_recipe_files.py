"""Recipes in files: the shipped ones say what their papers say, and a wrong file is one line."""

import math
import re
from pathlib import Path

import pytest

from zoo.errors import UserError
from zoo.models import registry
from zoo.training import TrainConfig, list_recipes, make_optimizer, make_schedule, read_recipe
from zoo.training.recipe_files import show_recipe

MADE_FOR = {
    "densenet-cifar": "densenet100_k12_bc",
    "finetune": "resnet50",
    "imagenet": "resnet50",
    "preresnet-cifar": "preresnet110",
    "resnet-cifar": "resnet56",
    "resnext-cifar": "resnext29_8x64d",
}


def test_every_recipe_is_for_a_net_and_makes_an_optimiser():
    assert set(list_recipes()) == set(MADE_FOR)
    for name, model in MADE_FOR.items():
        registry.variant(model)
        make_optimizer(TrainConfig(model, **read_recipe(name)), 50_000)


@pytest.mark.parametrize("name", MADE_FOR)
def test_every_recipe_says_where_it_is_from(name):
    first, *_ = show_recipe(name).splitlines()
    assert re.search(r"^# .+: .+ 20\d\d, arXiv:\d{4}\.\d{5}", first)
    assert list_recipes()[name] == first[2:]


def test_every_net_for_cifar_has_a_recipe_with_its_published_error():
    """The papers' tables; `benchmarks/RESULTS.md` has the same figures."""
    found = {}
    for name in MADE_FOR:
        _, _, errors = show_recipe(name).replace("\n# ", " ").partition("Published errors on CIFAR-10: ")
        found |= {net: float(error) for net, error in re.findall(r"(\w+) ([\d.]+) %", errors)}
    nets = {name for name in registry.list_models() if registry.variant(name).image_size == 32}
    unpublished = {"convnet", "convnet_bn", "lenet5", "lenet5_relu", "mlp", "preresnet20", "preresnet56"}
    assert nets - found.keys() <= unpublished
    results = (Path(__file__).parents[2] / "benchmarks/RESULTS.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| [\w-]+ \| ([\d.]+) % \|", results, re.M))
    assert {net: float(error) for net, error in rows.items()} == found


@pytest.mark.parametrize(
    ("name", "images", "rates"),
    [
        ("resnet-cifar", 50_000, {0: 0.1, 31_900: 0.1, 32_200: 0.01, 47_900: 0.01, 48_200: 0.001}),  # steps of 128
        ("preresnet-cifar", 50_000, {0: 0.0, 400: 0.1, 32_000: 0.1, 32_200: 0.01, 48_200: 0.001}),
        ("densenet-cifar", 50_000, {0: 0.1, 149.9 * 782: 0.1, 150.1 * 782: 0.01, 225.1 * 782: 0.001}),
        ("resnext-cifar", 50_000, {149.9 * 391: 0.1, 150.1 * 391: 0.01, 224.9 * 391: 0.01, 225.1 * 391: 0.001}),
        (
            "imagenet",
            1_281_167,
            {4.9 * 5005: 0.098, 29.9 * 5005: 0.1, 30.1 * 5005: 0.01, 60.1 * 5005: 1e-3, 80.1 * 5005: 1e-4},
        ),
    ],
)
def test_the_learning_rates_are_those_of_the_papers(name, images, rates):
    config = TrainConfig(MADE_FOR[name], **read_recipe(name))
    schedule = make_schedule(config, images)
    for step, rate in rates.items():
        assert float(schedule(math.floor(step))) == pytest.approx(rate, rel=1e-3)


def test_a_file_of_one_s_own_may_have_every_field(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'model = "mlp"\nlr = 1\nfreeze = ["fc1"]\nfreeze_statistics = true\nmilestones = [0.2]\nflip = 0.5\n'
    )
    config = TrainConfig(**read_recipe(path))
    assert config == TrainConfig("mlp", lr=1, freeze=("fc1",), freeze_statistics=True, milestones=(0.2,), flip=0.5)
    assert config.statistics == {"*": "running"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lerning_rate = 1", r"mine\.toml has an unknown key 'lerning_rate': did you mean|its keys are"),
        ("weight-decay = 1", "unknown key 'weight-decay': did you mean 'weight_decay'"),
        ("xyzzy = 1", "unknown key 'xyzzy': its keys are "),
        ("lr = -1", r"mine\.toml: lr is -1: it must be positive"),
        ('lr = "high"', "lr is 'high': it must be a number"),
        ("lr = true", "lr is True: it must be a number"),
        ("epochs = 2.5", "epochs is 2.5: it must be a whole number"),
        ("freeze = [1]", r"freeze is \(1,\): it must be a list"),
        ("[lr]\na = 1", "lr is {'a': 1}: it must be a number"),
        ("lr 3", "is not TOML"),
        (b"\xff\xfe", "is not a text in UTF-8"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message) as error:
        read_recipe(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("resnet-cifr", UserError, "no recipe is called 'resnet-cifr': did you mean 'resnet-cifar'"),
        ("xyzzy", UserError, "no recipe is called 'xyzzy': Known: densenet-cifar"),
        ("nowhere.toml", FileNotFoundError, "nowhere"),
    ],
)
def test_a_recipe_that_is_not_there_is_one_line(name, error, message):
    with pytest.raises(error, match=message):
        read_recipe(name)
