"""Every model is its reference: figures of torchvision, timm, pytorchcv and Cadene, in float64, to the stored digits.

Everyday: structure of all records, and that every model has a reference. `make proofs`, and CI with every commit:
evaluation at the smallest recorded input, and training of those that the table of proofs marks. Slow: the whole
of every record, with all intermediate features. With the [parity] extra: the models that have no record.
"""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import zoo
from tests.support import caffe_graphs, live, oracle, references
from tests.support.proof import FEATURE, GRADIENT, Subject, assert_within, distance
from tests.support.proof_table import PROOFS, Proof
from tests.support.references import REFERENCES
from tools import write_model_table, write_record
from zoo import weights

SINGLE = 1e-3  # tolerance of float32, of filters that sum to zero; a pool that rounds otherwise is off by 0.1
EVERYDAY = ("torchvision/resnet18", "timm/resnetv2_18", "pytorchcv/preresnet20_cifar10")  # the quick ones of each kind


def parametrize(proofs):
    """A test of each proof, of which most take long: `make proofs`."""
    marks = ((proof, () if proof.source in EVERYDAY else pytest.mark.proof) for proof in proofs)
    return pytest.mark.parametrize("proof", [pytest.param(proof, marks=m, id=proof.source) for proof, m in marks])


named = pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.source)
evaluated, trained = parametrize(p for p in PROOFS if p.evaluate), parametrize(p for p in PROOFS if p.train)


@named
def test_state_dict_has_the_reference_keys_and_shapes(proof: Proof):
    record = oracle.record(proof.source)
    row = zoo.variant(proof.name)
    images = jax.ShapeDtypeStruct((1, row.image_size, row.image_size, 3), jnp.float32)
    model = zoo.create(proof.name, **proof.fields)
    variables = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
    layout = proof.layout if not isinstance(proof.layout, str) else weights.layouts(proof.name)[proof.layout]
    ours = {key: list(slot.torch_shape) for key, slot in weights.slots(variables, layout).items()}
    theirs = {key: shape for key, shape in record.keys if not key.endswith(weights.COUNTER)}
    assert ours == theirs


@evaluated
def test_evaluation_at_the_smallest_input_equals_the_reference(proof: Proof, float64):
    part = "eval_small" if "eval_small" in oracle.record(proof.source).figures else "eval"
    assert_within(Subject.of(proof).evaluation(part))


@trained
def test_training_equals_the_reference(proof: Proof, float64):
    assert_within(Subject.of(proof).training())


@pytest.mark.slow
@named
def test_all_figures_equal_the_reference(proof: Proof, float64):
    subject = Subject.of(proof)
    distances = assert_within([*subject.evaluation("eval"), *subject.training()])
    least = min(4, len(subject.record.figures["eval"]["features"]))
    assert sum(d.tolerance == FEATURE for d in distances) >= 4 * least, f"fewer than {least} features were compared"


@pytest.mark.proof
@pytest.mark.parametrize("graph", caffe_graphs.GRAPHS)
def test_evaluation_equals_the_graph_published_for_caffe(graph: str):
    """On an image of the size of Caffe's, whose colours are not scaled: response normalisation feels it."""
    name, layout = caffe_graphs.GRAPHS[graph]
    image = 64 * oracle.tensor("input", (1, 224, 224, 3))
    model = zoo.create(name)
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), image)
    state = {key: oracle.tensor(key, slot.torch_shape) for key, slot in weights.slots(shapes, layout).items()}
    biases = {key: value for key, value in state.items() if f"{key.removesuffix('.bias')}/bn.bias" in state}
    state |= {key: np.zeros_like(value) for key, value in biases.items()}  # Caffe has none before a normalisation
    variables = weights.from_torch(name, state, layout=layout, model=model)
    ours = jax.jit(partial(model.apply, train=False))(variables, image)
    theirs = {key: value for key, value in state.items() if key not in biases and not key.startswith("aux")}
    logits = caffe_graphs.run(graph, theirs, image)
    assert_within([distance("logits", ours, logits, logits.std(), SINGLE)])


UNNORMALISED = {"mlp", "convnet", "lenet5", "lenet5_relu", "alexnet", "alexnet_2012", "googlenet_2014"}
UNNORMALISED |= {"vgg11", "vgg13", "vgg16", "vgg19", "squeezenet1_0", "squeezenet1_1"}


def test_every_model_was_measured_against_a_reference_in_evaluation_and_training():
    measured = json.loads(write_model_table.MEASURED.read_text())
    assert set(measured) == set(zoo.list_models()), "measure them: python -m tools.write_model_table --measure"
    assert all(found[kind] < GRADIENT for found in measured.values() for kind in ("logits", "gradients"))
    assert {name for name, found in measured.items() if "statistics" not in found} == UNNORMALISED


@pytest.mark.parity
@pytest.mark.parametrize("name", REFERENCES)
def test_state_dict_has_the_installed_nets_keys_and_shapes(name: str):
    reference = REFERENCES[name]
    live.compare_structure(reference.make(name), name, reference.layout)


@pytest.mark.parity
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if r.slow else ()) for name, r in REFERENCES.items()]
)
def test_all_quantities_equal_the_installed_nets(name: str):
    references.compare(name)


@pytest.mark.parity
def test_the_tool_for_new_records_finds_the_figures_of_an_old_one():
    name = "torchvision/resnet18"
    found = flatten_dict(write_record.measure(live.reference(name)(), size=224, small=120))
    stored = flatten_dict(oracle.record(name).figures)
    for path in (path for path in found if path[-1] != "key"):
        assert jax.tree.leaves(found[path]) == pytest.approx(jax.tree.leaves(stored[path]), rel=1e-6, abs=1e-9), path
