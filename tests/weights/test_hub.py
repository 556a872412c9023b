"""What a repository's config.json says of its weights, as timm writes it; all offline, from the hub's cache."""

import json

import pytest

from tests.support.hub import make_repository
from zoo.data import Preprocessing
from zoo.errors import UserError
from zoo.weights import find_preprocessing, hub
from zoo.weights.files import write_arrays

SAID = {  # as in timm/resnet50.a1_in1k
    "input_size": [3, 192, 160],
    "interpolation": "bicubic",
    "crop_pct": 0.95,
    "crop_mode": "center",
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.25, 0.3],
    "num_classes": 2,
}
EXPECTED = Preprocessing((192, 160), 0.95, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), interpolation="bicubic")
NEW = {"architecture": "resnet50", "num_classes": 2, "pretrained_cfg": SAID}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return make_repository(tmp_path, "org/name")


def write(repository, values):
    (repository / "config.json").write_text(json.dumps(values))


@pytest.mark.parametrize("values", [NEW, {"architecture": "resnet50", **SAID}])
def test_the_preprocessing_is_read_from_timm_s_files_new_and_old(repository, values):
    write(repository, values)
    assert hub.read_card("hf:org/name") == hub.Card(EXPECTED, None)


def test_the_names_of_the_classes_are_read(repository):
    write(repository, {**NEW, "label_names": ["cat", "dog"]})
    assert hub.read_card("hf:org/name").class_names == ("cat", "dog")


def test_a_squashed_picture_is_stretched(repository):
    write(repository, {"pretrained_cfg": {**SAID, "crop_mode": "squash"}})
    assert hub.read_card("hf:org/name").preprocessing.crop is None


def test_pictures_are_prepared_as_the_repository_says(repository):
    write(repository, NEW)
    write_arrays(repository / "model.safetensors", {}, {})
    assert find_preprocessing("resnet50", "hf:org/name") == EXPECTED


@pytest.mark.parametrize("values", [None, {"model_type": "bert"}])
def test_a_repository_without_timm_s_words_says_nothing(repository, values):
    if values:
        write(repository, values)
    assert hub.read_card("hf:org/name") is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pretrained_cfg": {**SAID, "interpolation": "lanczos"}}, "interpolation bilinear or bicubic"),
        ({"pretrained_cfg": {**SAID, "crop_mode": "border"}}, "its crop_mode is 'border'"),
        ({"pretrained_cfg": {**SAID, "std": [0.2, 0.0, 0.2]}}, "std above 0"),
        ({"pretrained_cfg": {**SAID, "mean": "red"}}, "finite numbers"),
        ({"pretrained_cfg": {**SAID, "input_size": [192]}}, "as timm writes it"),
        ({"pretrained_cfg": {n: v for n, v in SAID.items() if n != "crop_pct"}}, "as timm writes it"),
        ({**NEW, "label_names": ["cat"]}, "1 label_names for 2 classes"),
        ({**NEW, "label_names": ["cat", 3]}, "not a list of names"),
        ([NEW], "as timm writes it"),
    ],
)
def test_what_cannot_be_is_one_line_that_names_the_file(repository, wrong, message):
    write(repository, wrong)
    with pytest.raises(UserError, match=message) as error:
        hub.read_card("hf:org/name")
    assert "config.json" in str(error.value)
    assert "\n" not in str(error.value)
