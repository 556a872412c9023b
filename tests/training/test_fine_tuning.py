"""From trained weights: what is new, what stays, how images are prepared, and what is refused before a start."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

import zoo
from tests.support.hub import make_repository
from tests.support.nets import draw_variables
from zoo import data
from zoo.data.preprocessing import format_preprocessing
from zoo.errors import UserError
from zoo.training import RunFolder, TrainConfig, resume
from zoo.training.preparation import prepare

SEEN = data.Preprocessing((10, 10), None, (0.3,), (0.4,))  # by the weights
CONFIG = TrainConfig("convnet_bn", epochs=1, batch_size=722, max_shift=0, warmup_epochs=0)


@pytest.fixture(scope="module")
def donor(tmp_path_factory):
    """Weights for seven classes of grey images, and their variables."""
    path = tmp_path_factory.mktemp("donor") / "donor.safetensors"
    model = zoo.create("convnet_bn", num_classes=7)
    variables = draw_variables(model, (10, 10, 1))
    metadata = {"preprocessing": format_preprocessing(SEEN)}
    zoo.save(path, variables, name="convnet_bn", model=model, metadata=metadata)
    return path, variables


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def test_a_run_from_weights_has_a_new_head_frozen_layers_and_the_images_of_the_weights(donor, tmp_path):
    path, variables = donor
    told, folder = [], tmp_path / "run"
    config = replace(CONFIG, weights=str(path), freeze=("conv*",), freeze_statistics=("bn1_*",))
    zoo.fit(config, folder, on_start=told.append)
    assert told[0].new == ("fc",)
    trained = RunFolder(folder).restore()
    assert trained.record == told[0]
    assert trained.record.preprocessing == SEEN
    assert trained.record.class_names == tuple("0123456789")
    params, stats = trained.state.params, trained.state.batch_stats
    assert params["fc"]["kernel"].shape[1] == 10
    for name in params:
        if name.startswith("conv"):
            assert bits(params[name]) == bits(variables["params"][name]), name
        elif name != "fc":
            assert bits(params[name]) != bits(variables["params"][name]), name
    for name in stats:
        assert (bits(stats[name]) == bits(variables["batch_stats"][name])) == name.startswith("bn1_"), name


def test_a_run_from_weights_is_resumed_without_them(donor, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(donor[0].read_bytes())

    def stop(progress, state):
        raise KeyboardInterrupt

    config = replace(CONFIG, weights=str(path))
    with pytest.raises(KeyboardInterrupt):
        zoo.fit(config, tmp_path / "run", on_step=stop)
    path.unlink()
    resume(tmp_path / "run")
    zoo.fit(replace(config, weights=str(donor[0])), tmp_path / "whole")
    resumed, whole = (RunFolder(tmp_path / name).restore().state.variables for name in ("run", "whole"))
    assert bits(resumed) == bits(whole)


def test_weights_of_as_many_classes_keep_their_head(tmp_path):
    model = zoo.create("mlp")
    variables = draw_variables(model, (8, 8, 1))
    noted = data.Preprocessing((8, 8), None, (0.3,), (0.4,))
    path = tmp_path / "mlp.safetensors"
    zoo.save(path, variables, name="mlp", metadata={"preprocessing": format_preprocessing(noted)})
    prepared = prepare(TrainConfig("mlp", weights=str(path)))
    assert prepared.new == ()
    assert bits(prepared.state.params) == bits(variables["params"])


def test_grey_images_are_prepared_as_a_repository_of_coloured_weights_says(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository, model = make_repository(tmp_path, "org/name"), zoo.create("convnet_bn", num_classes=7)
    variables = draw_variables(model, (12, 12, 3))
    zoo.save(repository / "model.safetensors", variables, name="convnet_bn", model=model, layout="torchvision")
    said = {"input_size": [3, 12, 12], "interpolation": "bicubic", "crop_pct": 0.9}
    said |= {"mean": [0.1, 0.2, 0.6], "std": [0.2, 0.3, 0.4]}
    (repository / "config.json").write_text(json.dumps({"pretrained_cfg": said}))
    splits, state, new = prepare(replace(CONFIG, weights="hf:org/name"))
    prepared = splits.test.preprocessing
    assert (prepared.size, prepared.crop, prepared.interpolation) == ((12, 12), 0.9, "bicubic")
    assert (*prepared.mean, *prepared.std) == pytest.approx((0.3, 0.3))
    coloured = np.asarray(variables["params"]["conv1_0_0"]["kernel"], np.float64)
    np.testing.assert_allclose(
        state.params["conv1_0_0"]["kernel"], coloured.sum(2, keepdims=True), rtol=1e-5, atol=1e-7
    )
    assert new == ("fc",)
    with pytest.raises(UserError, match=r"not the weights of convnet_bn(.|\n)*1 misshapen: fc1"):
        prepare(replace(CONFIG, weights="hf:org/name", image_size=8))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weights": "published"}, "convnet_bn has no published weights"),
        ({"weights": "nowhere.safetensors"}, "no file of weights at nowhere"),
        ({"freeze": ["conv9"]}, "no parameter fits 'conv9': near are conv"),
        ({"freeze": ("*",)}, "leaves nothing to train"),
        ({"freeze_statistics": ["bm1_0"]}, "no normalisation fits 'bm1_0': near are bn1_0"),
        ({"model": "mlp", "freeze_statistics": True}, "the net has no normalisation"),
        ({"dropout": 0.5}, "has no field 'dropout'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path, wrong, message):
    with pytest.raises((UserError, FileNotFoundError), match=message):
        zoo.fit(replace(CONFIG, **wrong), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_of_another_net_are_refused(donor, tmp_path):
    with pytest.raises(UserError, match="holds the weights of convnet_bn, not of mlp"):
        zoo.fit(TrainConfig("mlp", weights=str(donor[0])), tmp_path / "run")
    assert not (tmp_path / "run").exists()
