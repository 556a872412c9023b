"""`zoo predict`, `convert` and `verify`: trained weights at work, and files of them."""

from pathlib import Path
from typing import Annotated

import numpy as np
from tyro.conf import arg

from zoo.cli.terminal import new_table, write
from zoo.data.preprocessing import class_names
from zoo.models import registry
from zoo.training import loop as fit
from zoo.weights import conversion, prediction
from zoo.weights.prediction import Prediction

Model = Annotated[str, arg(metavar="MODEL")]
TOP = ("1st", "2nd", "3rd", "4th", "5th")


def predict(
    net: Annotated[str, arg(metavar="RUN|MODEL")],
    images: Annotated[tuple[Path, ...], arg(metavar="IMAGE...")],
    *,
    weights: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None,
    preprocessing: Annotated[str | None, arg(metavar="NAME|JSON", help_behavior_hint="")] = None,
    labels: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None,
    invert: bool = False,
) -> None:
    """Name the most probable classes of pictures.

    With a run folder, the pictures are made grey or RGB and resized like the run's images. With a model's name and
    weights, they are prepared as the weights say.

    Args:
        net: Run folder, or name of a model.
        images: Picture files.
        weights: File of the model's weights, or hf:ORG/NAME; the published ones if not given.
        preprocessing: How the weights want their pictures, if their file does not say: torchvision, caffe or inception.
        labels: Class names, one a line or a JSON list; without it classes have numbers.
        invert: Swap dark and light: digits are light on dark, ink on paper is the other way round. For run folders.
    """
    if not images:
        raise ValueError("No picture given: zoo predict RUN IMAGE..., or zoo predict MODEL --weights FILE IMAGE...")
    of_run = Path(net).exists() or (weights is None and net not in registry.list_models())
    if of_run and (weights or preprocessing):
        raise ValueError(f"{net} is a run folder, which has its own weights: leave out --weights and --preprocessing.")
    if invert and not of_run:
        raise ValueError(f"{net} gets its pictures as its weights say: leave out --invert.")
    if of_run:
        answers = _of_run(Path(net), images, labels, invert)
    else:
        answers = prediction.predict(net, images, weights, preprocessing=preprocessing, labels=labels)
    table = new_table("picture", *(f"{place}>" for place in TOP[: len(answers[0])]))
    for path, best in zip(images, answers, strict=True):
        table.add_row(str(path), *(f"{label}  {100 * probability:.1f} %" for label, probability in best))
    write(table)


def convert(
    model: Model,
    file: Annotated[str, arg(metavar="FILE")],
    out: Annotated[Path, arg(metavar="OUT")],
    *,
    layout: str = "zoo",
    preprocessing: Annotated[str | None, arg(metavar="NAME|JSON", help_behavior_hint="")] = None,
) -> None:
    """Write a file of weights as .safetensors, in our layout or in torch's.

    Args:
        model: Name of the model.
        file: Weights: .safetensors, .npz, .pth or hf:ORG/NAME, in our names or torch's.
        out: The file to write.
        layout: zoo, or the naming of torchvision or timm.
        preprocessing: How these weights want their pictures, to be noted in the file: torchvision, caffe or inception.
    """
    conversion.convert(model, file, out, layout=layout, preprocessing=preprocessing)
    write(f"weights: {out}")


def verify(model: Model, file: Annotated[str, arg(metavar="FILE")]) -> None:
    """Check that a file holds a model's weights: every name and every shape, none missing, none left over.

    Args:
        model: Name of the model.
        file: Weights: .safetensors, .npz, .pth or hf:ORG/NAME, in our names or torch's.
    """
    write(conversion.verify(model, file))


def _of_run(run: Path, images: tuple[Path, ...], labels: Path | None, invert: bool) -> list[list[Prediction]]:
    trained = fit.restore(run)
    names = class_names(labels, trained.num_classes) if labels else list(map(str, range(trained.num_classes)))
    channels = trained.preparation.image_shape[2]
    pictures = np.concatenate([trained.preparation(_picture(path, channels, invert)) for path in images])
    answers = []
    for shares in fit.probabilities(trained, pictures):
        best = np.argsort(-shares, kind="stable")[: len(TOP)]
        answers.append([Prediction(names[label], float(shares[label])) for label in best])
    return answers


def _picture(path: Path, channels: int, invert: bool) -> np.ndarray:
    """`[1, h, w, channels]` bytes."""
    from PIL import Image, ImageOps

    with Image.open(path) as file:
        picture = ImageOps.exif_transpose(file).convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(ImageOps.invert(picture) if invert else picture)
    return pixels.reshape(1, picture.height, picture.width, channels)
