"""Where the weights are in what people saved, and what stands before their names"""

import json

import numpy as np
import pytest
import safetensors.numpy

import zoo
from tests.weights.test_state_dict import NAME, assert_equal_trees, state_dict_of
from zoo.errors import UserError
from zoo.weights import convert, read, verify
from zoo.weights.checkpoints import choose_state_dict, find_parts
from zoo.weights.torch_files import Foreign, Storage, Tensor, TorchFile

ONE = Tensor(Storage("0", np.dtype(np.float32)), 0, (), ())
STATE, OTHER = {"a": ONE}, {"b": ONE}
STRANGE = Foreign("argparse.Namespace")


def open_file(content):
    return TorchFile(content, ("argparse.Namespace",), lambda key: b"")


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE},
        {"model_state_dict": STATE, "epoch": 3, "optimizer_state_dict": {"state": {0: OTHER}, "param_groups": []}},
        {"model": STATE, "model_ema": OTHER, "args": STRANGE},
        {"state_dict_ema": OTHER, "state_dict": STATE, "best_acc1": ONE},
        {"net": STATE, "acc": 95.1, "epoch": 7},
        {"encoder": STATE, "config": {"width": 3}},
    ],
)
def test_the_usual_place_is_known(content):
    assert choose_state_dict(open_file(content)) is STATE


def test_an_average_is_read_where_it_is_asked_for():
    content = {"model": STATE, "model_ema": OTHER, "epoch": 3}
    assert list(find_parts(content)) == ["model", "model_ema"]
    assert choose_state_dict(open_file(content), "model_ema") is OTHER
    with pytest.raises(ValueError, match="has no state dict 'ema': it has model, model_ema"):
        choose_state_dict(open_file(content), "ema")
    with pytest.raises(ValueError, match="has no state dict 'ema': it has no parts"):
        choose_state_dict(open_file(STATE), "ema")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"student": STATE, "teacher": OTHER}, "several state dicts, student, teacher: name one, as in FILE#student"),
        ({"epoch": 3}, r"no state dict {name: tensor}, but argparse\.Namespace, whose code is not run: where it was"),
        (STRANGE, r"torch\.save\(net\.state_dict\(\), 'weights\.pth'\) writes one"),
        ({1: ONE}, "no state dict"),
        ([ONE], "no state dict"),
        ({"a": ONE, "step": 3}, "its state dict holds more than tensors, step"),
    ],
)
def test_what_is_none_or_is_not_clear_is_said(content, message):
    with pytest.raises(ValueError, match=message):
        choose_state_dict(open_file(content))


PREFIXES = ["module.", "_orig_mod.", "model.", "backbone.", "module._orig_mod.", "_orig_mod.module.model.", "net.1."]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_stands_before_all_names_is_taken_off_and_said(tmp_path, prefix):
    state, path = state_dict_of(num_classes=3), tmp_path / "w.npz"
    counters = {f"{prefix}bn1.num_batches_tracked": np.array(3), "n_averaged": np.array(2)}
    np.savez(path, **{f"{prefix}{k}": v for k, v in state.items()}, **counters)
    expected = zoo.from_torch(NAME, state, model=zoo.create(NAME, num_classes=3))
    assert_equal_trees(zoo.pretrained(NAME, path)[1], expected)
    said = f"{prefix!r} was taken off its names."
    assert verify(NAME, path).endswith(f"running statistics. {said}")
    assert convert(NAME, path, tmp_path / "ours.safetensors") == said
    assert convert(NAME, tmp_path / "ours.safetensors", tmp_path / "again.safetensors") == ""


def test_a_name_of_the_net_is_not_taken_for_a_wrapper_s():
    """All that is left of a headless DenseNet begins with `features.`."""
    state = {k: v for k, v in state_dict_of("densenet40_k12").items() if k.startswith("features.")}
    with pytest.raises(UserError, match=r"2 missing: classifier") as error:
        zoo.from_torch("densenet40_k12", state)
    assert "unexpected" not in str(error.value)


def test_names_that_fit_no_better_without_it_keep_their_beginning():
    with pytest.raises(UserError, match=r"unexpected: a\.b\.x, a\.b\.y"):
        zoo.from_torch(NAME, {"a.b.x": np.zeros(1), "a.b.y": np.zeros(1)})


def test_weights_in_several_files_with_an_index_are_read(tmp_path):
    state, path = state_dict_of(), tmp_path / "model.safetensors.index.json"
    halves = {f"model-0000{i}-of-00002.safetensors": list(state)[i - 1 :: 2] for i in (1, 2)}
    for file, keys in halves.items():
        safetensors.numpy.save_file({k: state[k] for k in keys}, tmp_path / file, {"format": "pt"})
    places = {k: file for file, keys in halves.items() for k in keys}

    def write(places):
        path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))

    write(places)
    assert_equal_trees(zoo.load(NAME, path), zoo.from_torch(NAME, state))
    assert_equal_trees(zoo.load(NAME, tmp_path), zoo.from_torch(NAME, state))
    first, second = halves
    for wrong, message in [
        (places | {"fc.weight": "../w.safetensors"}, r"names what is no file beside it: \.\./w\.safetensors"),
        (places | {"fc.weight": "w.npz"}, r"no file beside it: w\.npz"),
        (places | {"fc.weight": "model-3.safetensors"}, r"model-3\.safetensors is not beside it"),
        (places | {"more": first}, "these arrays are not where it says: more"),
        (places | {"fc.weight": first if places["fc.weight"] == second else second}, r"says: fc\.weight"),
    ]:
        write(wrong)
        with pytest.raises(UserError, match=message):
            read(path)
    for bad in ("", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}'):
        path.write_text(bad)
        with pytest.raises(UserError, match="cannot be read, nothing was loaded"):
            read(path)


def test_a_part_of_what_has_none_is_refused(tmp_path):
    np.savez(tmp_path / "w.npz", **state_dict_of())
    with pytest.raises(UserError, match=r"w\.npz has no parts: leave out #model_ema\."):
        zoo.load(NAME, f"{tmp_path / 'w.npz'}#model_ema")
    safetensors.numpy.save_file(state_dict_of(), tmp_path / "run #2.safetensors")
    zoo.load(NAME, tmp_path / "run #2.safetensors")


@pytest.mark.parity
def test_torch_takes_bfloat16_parameters(tmp_path):
    import torch

    model = zoo.create(NAME, param_dtype="bfloat16")
    variables = zoo.from_torch(NAME, state_dict_of(), model=model)
    tensors = {k: torch.from_numpy(v) for k, v in zoo.to_torch(NAME, variables).items()}
    assert tensors["conv1.weight"].dtype == torch.float32
    torch.save(tensors, tmp_path / "w.pth")
    assert_equal_trees(zoo.load(NAME, tmp_path / "w.pth", model=model), variables)
