"""A trained net on photographs: the probabilities that its weights are known to give (`-m pretrained`).

`ZOO_PRETRAINED` names a folder with `resnet50_v1.safetensors`, an ImageNet ResNet-50 whose strides are in the first
1x1, in torchvision's names, and `labels.json`, the names of its classes.
"""

import os
from pathlib import Path

import pytest

import zoo
from zoo.weights import convert, find_preprocessing, verify

NAME = "resnet50_v1"


@pytest.fixture(scope="module")
def folder() -> Path:
    if "ZOO_PRETRAINED" not in os.environ:
        pytest.fail("set ZOO_PRETRAINED to the folder with resnet50_v1.safetensors and labels.json.", pytrace=False)
    return Path(os.environ["ZOO_PRETRAINED"])


@pytest.mark.pretrained
@pytest.mark.parametrize(
    ("photograph", "label", "probability"), [("chelsea", "Egyptian_cat", 0.733), ("coffee", "espresso", 0.994)]
)
def test_photographs_get_the_known_probabilities(folder, tmp_path, photograph, label, probability):
    import skimage.data
    from PIL import Image

    Image.fromarray(getattr(skimage.data, photograph)()).save(tmp_path / "photograph.png")
    model, variables = zoo.pretrained(NAME, folder / "resnet50_v1.safetensors")
    labels = zoo.data.read_class_names(folder / "labels.json", 1000)
    picture = tmp_path / "photograph.png"
    (top5,) = zoo.predict(model, variables, [picture], zoo.data.PRESETS["caffe"], labels=labels)
    assert len(top5) == 5
    assert top5[0].label == label
    assert top5[0].probability == pytest.approx(probability, abs=5e-4)


@pytest.mark.pretrained
def test_a_converted_file_knows_its_preprocessing_and_predicts_the_same(folder, tmp_path):
    import skimage.data
    from PIL import Image

    out = tmp_path / "resnet50_v1.safetensors"
    convert(NAME, folder / out.name, out, preprocessing="caffe")
    assert verify(NAME, out).endswith("25,557,032 parameters, 53,120 running statistics.")
    model, variables = zoo.pretrained(NAME, out)
    chelsea = Image.fromarray(skimage.data.chelsea())
    ((best,),) = zoo.predict(model, variables, [chelsea], find_preprocessing(NAME, out), top=1)
    assert best.label == "285"
    assert best.probability == pytest.approx(0.733, abs=5e-4)
