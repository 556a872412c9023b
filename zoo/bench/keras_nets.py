"""Keras's applications on the JAX backend.

Their step is one jitted function of `stateless_call` and `stateless_apply` that donates its state: what `fit` and
`train_on_batch` run inside, without the work in Python that those do around it.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from zoo.bench.compiled import compile_inference, compile_step
from zoo.bench.job import LEARNING_RATE, MOMENTUM, Contestant, Job
from zoo.errors import UserError

V1 = "Keras's ResNet has the stride in the first 1x1 and biases"
VGG = "Keras's VGG has no dropout, and dense layers of the size of its maps"
HEADLESS = "Keras's Inception v3 has no auxiliary head"
NETS = {  # ours: theirs, and how that departs
    **{f"resnet{depth}": (f"ResNet{depth}", V1) for depth in (50, 101, 152)},
    "resnet50_v1": ("ResNet50", "Keras's ResNet has biases"),
    **{f"resnetv2_{depth}": (f"ResNet{depth}V2", "Keras's ResNet v2 has biases") for depth in (50, 101, 152)},
    **{f"densenet{depth}": (f"DenseNet{depth}", "") for depth in (121, 169, 201)},
    **{f"vgg{depth}": (f"VGG{depth}", VGG) for depth in (16, 19)},
    "inception_v3": ("InceptionV3", HEADLESS),
    "inception_resnet_v2": ("InceptionResNetV2", ""),
    "xception": ("Xception", ""),
    "mobilenet_v1": ("MobileNet", ""),
    "mobilenet_v2": ("MobileNetV2", ""),
}


def make(job: Job) -> Contestant:
    """The application of the same name, which gives logits as ours.

    Raises:
      UserError: Keras has no such net.
    """
    if job.model not in NETS:
        raise UserError(f"Keras has no {job.model}")
    name, note = NETS[job.model]
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy("mixed_bfloat16" if job.dtype == "bfloat16" else "float32")
    shape = (job.size, job.size, 3)
    model = getattr(keras.applications, name)(weights=None, input_shape=shape, classifier_activation=None)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((job.batch, *shape), np.float32))
    trained, others = (
        [variable.value for variable in group] for group in (model.trainable_variables, model.non_trainable_variables)
    )
    if job.mode == "infer":
        call = jax.jit(lambda trained, others, images: model.stateless_call(trained, others, images, training=False)[0])
        contestant = compile_inference(call, trained, others, images)
    else:
        optimizer = keras.optimizers.SGD(LEARNING_RATE, momentum=MOMENTUM)
        optimizer.build(model.trainable_variables)
        state = trained, others, [variable.value for variable in optimizer.variables]
        contestant = compile_step(_make_step(model, optimizer), state, images, jnp.arange(job.batch) % 1000)
    return replace(contestant, note=note)


def _make_step(model: Any, optimizer: Any) -> Any:
    def loss_of(trained: Any, others: Any, images: Any, labels: Any) -> Any:
        logits, others = model.stateless_call(trained, others, images, training=True)
        losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        return jnp.mean(losses), others

    def step(state: Any, images: Any, labels: Any) -> Any:
        trained, others, slots = state
        (loss, others), grads = jax.value_and_grad(loss_of, has_aux=True)(trained, others, images, labels)
        trained, slots = optimizer.stateless_apply(slots, grads, trained)
        return (trained, others, slots), loss

    return jax.jit(step, donate_argnums=0)
