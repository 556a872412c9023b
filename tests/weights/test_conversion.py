"""Converted files keep arrays and gain a preprocessing; the report on a file is one line or the whole list."""

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax.traverse_util import flatten_dict

import zoo
from tests.weights.test_state_dict import NAME, assert_equal_trees, state_dict_of
from zoo import weights
from zoo.data import PRESETS
from zoo.weights import conversion, files, find_preprocessing


def test_convert_notes_the_preprocessing_and_predict_and_convert_find_it(tmp_path):
    variables = weights.from_torch(NAME, state_dict_of())
    np.savez(tmp_path / "w.npz", **weights.to_torch(NAME, variables))
    path, again = tmp_path / "w.safetensors", tmp_path / "again.safetensors"
    with pytest.raises(ValueError, match=r"w\.npz does not say how its pictures are prepared: pass preprocessing"):
        find_preprocessing(NAME, tmp_path / "w.npz")
    conversion.convert(NAME, tmp_path / "w.npz", path, layout="torchvision", preprocessing="caffe")
    conversion.convert(NAME, path, again)
    for written in (path, again):
        assert_equal_trees(zoo.load(NAME, written), variables)
        assert find_preprocessing(NAME, written) == PRESETS["caffe"]


def test_convert_writes_nothing_when_the_weights_do_not_fit(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.zeros(1, np.float32))
    with pytest.raises(ValueError, match=r"1 unexpected: a"):
        conversion.convert(NAME, tmp_path / "w.npz", tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()


def test_verify_reports_what_fits_and_lists_what_does_not(tmp_path):
    variables = weights.from_torch(NAME, state_dict_of())
    path = tmp_path / "w.safetensors"
    files.save(path, variables, name=NAME)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert conversion.verify(NAME, path) == (
        f"{path} holds the weights of {NAME}: {parameters:,} parameters, 1,376 running statistics."
    )
    missing = flatten_dict(variables, sep="/")
    del missing["params/fc/bias"]
    safetensors.numpy.save_file({k: np.asarray(v) for k, v in missing.items()}, path)
    with pytest.raises(ValueError, match="1 missing: params/fc/bias"):
        conversion.verify(NAME, path)
