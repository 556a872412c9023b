"""Files as other people's tools write them, with tiny nets: `python -m tests.support.files_of_others MAKER FOLDER`.

Those in `tests/fixtures/files_of_others` were really written by the tools: by torch 2.13 with timm 1.0.31 and
huggingface_hub 2.4 (`torch`), Lightning 2.6 (`lightning`), Keras 3.15 on JAX (`keras`), Keras 2.12 and TensorFlow 2.12
(`tensorflow`). Caffe is no longer built: its messages are written by Google's protobuf (`caffe`).

Every array is a function of the name that the tool has for it, so that none is stored twice. Nothing of ours is
imported at the top: TensorFlow 2.12 wants an older NumPy.
"""

import argparse
import gzip
import json
import os
import shutil
import sys
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FIXTURES = Path(__file__).parents[1] / "fixtures"
FOLDER = FIXTURES / "files_of_others"
CLASSES = 3
DEPTHS, WIDTH, TIMM_WIDTH = (1, 1), 2, 8  # blocks of each stage, channels of the first one; timm wants multiples of 8
SHRUNK = 64 // WIDTH  # times fewer channels
POSITIVE = ("running_var", "moving_variance")
TORCH, SLIM, KERAS = "resnetv2_18", "resnetv2_50", "resnet50_v1"
COMMANDS = {
    "convert": "zoo convert {model} {source} out.safetensors",
    "verify": "zoo verify {model} {source}",
    "predict": "zoo predict {model} cat.png --weights {source}",
}


@dataclass(frozen=True)
class File:
    """A file, and what somebody does first who has it.

    Attributes:
      name: of the file or the folder; a checkpoint of TensorFlow's goes by what its files' names begin with.
      made_by: in words.
      does: of `COMMANDS`.
      model: whose weights they are.
      maker: of `WRITERS`.
      part: of the file.
      stored: the type of the numbers in it.
      factor: what the numbers are multiplied with: an average is told from the weights beside it.
    """

    name: str
    made_by: str
    does: str
    model: str = TORCH
    maker: str = "torch"
    part: str = ""
    stored: str = "float32"
    factor: int = 1

    @property
    def source(self) -> str:
        return self.name + self.part

    @property
    def command(self) -> str:
        return COMMANDS[self.does].format(model=self.model, source=self.source)


FILES = (
    File("resnetv2_18.pth", "torch: `torch.save(net.state_dict(), ...)`", "convert"),
    File("resnetv2_18_2019.pth", "torch, in its format of before 1.6", "verify"),
    File("whole_net.pt", "torch: `torch.save(net, ...)`, the whole object", "convert"),
    File("pytorch_model.bin", "torch, parameters in bfloat16", "convert", stored="bfloat16"),
    File("compiled.pt", "torch: `torch.compile`, half precision", "verify", stored="float16"),
    File("model_best.pth.tar", "PyTorch's ImageNet example, with `DataParallel`", "convert"),
    File("checkpoint.pth", "torchvision's training script, its average", "convert", part="#model_ema", factor=2),
    File("checkpoint-3.pth.tar", "timm's training script: `CheckpointSaver`", "verify"),
    File("timm", "timm: `save_for_hf`, as its repositories on the hub", "predict"),
    File("sharded", "huggingface_hub: `save_torch_state_dict`, several files with an index", "convert"),
    File("epoch=0-step=1.ckpt", "Lightning: `trainer.save_checkpoint`", "convert", maker="lightning"),
    File("resnet50.weights.h5", "Keras 3: `save_weights`", "convert", KERAS, "keras"),
    File("resnet50.keras", "Keras 3: `save`", "predict", KERAS, "keras"),
    File("resnet50_tf_kernels.h5", "Keras 2: `save_weights`", "predict", KERAS, "tensorflow"),
    File("resnet_v2_50.ckpt", "TensorFlow: TF-slim's variables, before 2017", "convert", SLIM, "tensorflow"),
    File("model.ckpt-30", "TensorFlow: TF-slim's, `.index` and `.data-...`", "verify", SLIM, "tensorflow"),
    File("ResNet-50-model.caffemodel", "protobuf: Caffe's messages", "predict", KERAS, "caffe"),
)


def format_table() -> str:
    """The files, their makers and the commands, as the documentation has them."""
    rows = [f"| `{file.name}` | {file.made_by} | `{file.command}` |" for file in FILES]
    return "\n".join(["| file | made by | command |", "|---|---|---|", *rows])


def value(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array that a tool calls so."""
    drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    return np.abs(drawn) + np.float32(0.5) if name.endswith(POSITIVE) else drawn


def make_torch_net(factor: int = 1):
    """timm's net, with fewer channels and blocks."""
    import torch

    from tests.support.live import torchvision_of_cpu

    torchvision_of_cpu()  # timm imports it
    import timm

    channels = tuple(TIMM_WIDTH * 2**stage for stage in range(len(DEPTHS)))
    net = timm.create_model(TORCH, layers=DEPTHS, channels=channels, stem_chs=TIMM_WIDTH, num_classes=CLASSES)
    with torch.no_grad():
        for key, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(factor * torch.from_numpy(value(key, tuple(tensor.shape))))
    return net


def write_torch(folder: Path) -> None:
    import huggingface_hub
    import torch
    from torch.optim.swa_utils import AveragedModel

    net, average = make_torch_net(), AveragedModel(make_torch_net(factor=2))
    import timm

    state = net.state_dict()
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    net(torch.zeros(2, 3, 64, 64)).sum().backward()
    optimizer.step()
    net.load_state_dict(make_torch_net().state_dict())
    net.zero_grad()
    arguments = argparse.Namespace(lr=0.1, model=TORCH, data=Path("pictures"))
    training = {"epoch": 3, "optimizer": optimizer.state_dict(), "args": arguments}
    torch.save(state, folder / "resnetv2_18.pth")
    torch.save(state, folder / "resnetv2_18_2019.pth", _use_new_zipfile_serialization=False)
    torch.save(net, folder / "whole_net.pt")
    torch.save({key: tensor.bfloat16() for key, tensor in state.items()}, folder / "pytorch_model.bin")
    parallel = {"arch": TORCH, "state_dict": torch.nn.DataParallel(net).state_dict(), "best_acc1": torch.tensor(76.1)}
    torch.save(training | parallel, folder / "model_best.pth.tar")
    torch.save(training | {"model": state, "model_ema": average.state_dict()}, folder / "checkpoint.pth")
    compiled = torch.compile(make_torch_net().half(), backend="eager")
    torch.save({"model_state_dict": compiled.state_dict(), "loss": 0.1}, folder / "compiled.pt")
    with tempfile.TemporaryDirectory() as run:  # it has the best and the last one too, as links
        saver = timm.utils.CheckpointSaver(net, optimizer, arguments, average.module, checkpoint_dir=run)
        saver.save_checkpoint(3, 76.1)
        shutil.copy(Path(run) / "checkpoint-3.pth.tar", folder)
    timm.models.save_for_hf(net, folder / "timm", safe_serialization=True)
    (folder / "sharded").mkdir(exist_ok=True)
    huggingface_hub.save_torch_state_dict(state, folder / "sharded", max_shard_size=10_000)


def write_lightning(folder: Path) -> None:
    import torch

    net = make_torch_net()
    import lightning

    class Lit(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.save_hyperparameters({"lr": 0.1})
            self.model = net

        def training_step(self, batch, _):
            return self.model(batch).sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0, momentum=0.9)

    options = {"enable_checkpointing": False, "enable_progress_bar": False, "logger": False}
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", **options)
    module = Lit()
    module.model.eval()
    trainer.fit(module, torch.utils.data.DataLoader(torch.zeros(2, 3, 64, 64), 2))
    trainer.save_checkpoint(folder / "epoch=0-step=1.ckpt")  # a ModelCheckpoint's has its absolute path in it


def make_keras_net(stack):
    """Keras's ResNet50 of its own blocks, with fewer channels and blocks."""
    import keras

    layers = keras.layers
    images = keras.Input((64, 64, 3))
    x = layers.ZeroPadding2D(3, name="conv1_pad")(images)
    x = layers.Conv2D(WIDTH, 7, strides=2, name="conv1_conv")(x)
    x = layers.BatchNormalization(epsilon=1.001e-5, name="conv1_bn")(x)
    x = layers.Activation("relu", name="conv1_relu")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(layers.ZeroPadding2D(1, name="pool1_pad")(x))
    for stage, depth in enumerate(DEPTHS):
        x = stack(x, WIDTH * 2**stage, depth, stride1=2 if stage else 1, name=f"conv{stage + 2}")
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    net = keras.Model(images, layers.Dense(CLASSES, name="predictions")(x))
    for layer in net.layers:
        keys = [f"{layer.name}/{weight.name.rpartition('/')[2].partition(':')[0]}" for weight in layer.weights]
        layer.set_weights([value(key, tuple(w.shape)) for key, w in zip(keys, layer.weights, strict=True)])
    return net


def write_keras(folder: Path) -> None:
    os.environ["KERAS_BACKEND"] = "jax"
    from keras.src.applications.resnet import stack_residual_blocks_v1

    net = make_keras_net(stack_residual_blocks_v1)
    net.save_weights(folder / "resnet50.weights.h5")
    net.save(folder / "resnet50.keras")


def list_slim_variables() -> dict[str, tuple[int, ...]]:
    """TF-slim's variables of resnet_v2_50 with their shapes, of the first unit of each block, with fewer channels."""

    def shrink(size: int) -> int:
        return CLASSES if size == 1001 else size // SHRUNK if size >= 64 else size

    table = json.loads(gzip.decompress((FIXTURES / "tf_slim" / "resnet_v2_50.json.gz").read_bytes()))["weights"]
    kept = [
        (key, shape)
        for key, shape in table
        if "/block" not in key or any(f"/block{stage}/unit_1/" in key for stage in range(1, len(DEPTHS) + 1))
    ]
    found = {key: tuple(map(shrink, shape)) for key, shape in kept}
    features = 4 * WIDTH * 2 ** (len(DEPTHS) - 1)  # of the last block that is left
    last = {"logits/weights": (1, 1, features, CLASSES)}
    last |= {f"postnorm/{leaf}": (features,) for leaf in ("gamma", "beta", "moving_mean", "moving_variance")}
    return found | {f"resnet_v2_50/{key}": shape for key, shape in last.items()}


def write_tensorflow(folder: Path) -> None:
    import tensorflow.compat.v1 as tf
    from keras import layers
    from keras.applications import resnet

    resnet.layers = layers  # which its own nets do
    make_keras_net(resnet.stack1).save_weights(str(folder / "resnet50_tf_kernels.h5"))
    tf.disable_v2_behavior()
    with tf.Graph().as_default(), tf.Session() as session:
        for key, shape in list_slim_variables().items():
            tf.get_variable(key, initializer=tf.constant(value(key, shape)))
        tf.get_variable("global_step", initializer=tf.constant(30, tf.int64))
        session.run(tf.global_variables_initializer())
        for name, version in (("resnet_v2_50.ckpt", 1), ("model.ckpt-30", 2)):
            saver = tf.train.Saver(write_version=version)
            saver.save(session, str(folder / name), write_meta_graph=False, write_state=False)


def list_caffe_shapes() -> dict[str, tuple[int, ...]]:
    """The arrays of Caffe's ResNet-50 by torch's words, of the first block of each stage, with fewer channels."""
    convolutions = {"conv1": (WIDTH, 3, 7, 7)}
    inputs = WIDTH
    for stage in range(2, 2 + len(DEPTHS)):
        width, outputs = WIDTH * 2 ** (stage - 2), WIDTH * 2**stage
        convolutions |= {
            f"res{stage}a_branch1": (outputs, inputs, 1, 1),
            f"res{stage}a_branch2a": (width, inputs, 1, 1),
            f"res{stage}a_branch2b": (width, width, 3, 3),
            f"res{stage}a_branch2c": (outputs, width, 1, 1),
        }
        inputs = outputs
    shapes: dict[str, tuple[int, ...]] = {"conv1.bias": (WIDTH,)}
    for layer, shape in convolutions.items():
        norm = f"bn_{layer}" if layer == "conv1" else layer.replace("res", "bn")
        shapes |= {f"{norm}.{leaf}": shape[:1] for leaf in ("weight", "bias", "running_mean", "running_var")}
        shapes[f"{layer}.weight"] = shape
    return shapes | {"fc1000.weight": (CLASSES, inputs), "fc1000.bias": (CLASSES,)}


def write_caffe(folder: Path) -> None:
    from tests.support.caffe_files import write

    arrays = {key: value(key, shape) for key, shape in list_caffe_shapes().items()}
    layers = []
    for layer in dict.fromkeys(key.rpartition(".")[0] for key in arrays):
        leaves = {key.rpartition(".")[2]: array for key, array in arrays.items() if key.startswith(f"{layer}.")}
        if "running_mean" in leaves:  # Caffe stores sums, and of how many they are
            sums = [2 * leaves["running_mean"], 2 * leaves["running_var"], np.array([2], np.float32)]
            layers.append((layer, "BatchNorm", sums))
            layers.append((layer.replace("bn", "scale", 1), "Scale", [leaves["weight"], leaves["bias"]]))
        else:
            kind = "Convolution" if leaves["weight"].ndim == 4 else "InnerProduct"
            layers.append((layer, kind, [leaves[leaf] for leaf in ("weight", "bias") if leaf in leaves]))
    write(folder / "ResNet-50-model.caffemodel", layers)


WRITERS = {
    "torch": write_torch,
    "lightning": write_lightning,
    "keras": write_keras,
    "tensorflow": write_tensorflow,
    "caffe": write_caffe,
}

if __name__ == "__main__":
    maker, place = sys.argv[1], Path(sys.argv[2])
    place.mkdir(parents=True, exist_ok=True)
    WRITERS[maker](place)
