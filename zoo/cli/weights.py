"""`zoo predict`, `convert` and `verify`: trained weights at work, and files of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from zoo import weights as library
from zoo.cli.terminal import make_table, write
from zoo.data import Preprocessing, read_class_names, read_picture
from zoo.errors import UserError
from zoo.models import registry
from zoo.models.net import Net
from zoo.training import RunFolder
from zoo.weights.key_maps import Variables

if TYPE_CHECKING:
    from PIL import Image

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
        labels: Class names, one per line or a JSON list; without it classes have numbers.
        invert: Swap dark and light: digits are light on dark, ink on paper is the other way round. For run folders.
    """
    if not images:
        raise UserError("no picture given", "zoo predict RUN IMAGE..., or zoo predict MODEL --weights FILE IMAGE...")
    of_run = Path(net).exists() or (weights is None and net not in registry.list_models())
    if of_run and (weights or preprocessing):
        raise UserError(f"{net} is a run folder, which has its own weights", "leave out --weights and --preprocessing")
    if invert and not of_run:
        raise UserError(f"{net} gets its pictures as its weights say", "leave out --invert")
    model, variables, prepare = _restore(Path(net)) if of_run else _load(net, weights, preprocessing)
    names = read_class_names(labels, model.num_classes) if labels else None
    pictures = _invert(images) if invert else images
    answers = library.predict(model, variables, pictures, prepare, labels=names, top=len(TOP))
    table = make_table("picture", *(f"{place}>" for place in TOP[: len(answers[0])]))
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
    library.convert(model, file, out, layout=layout, preprocessing=preprocessing)
    write(f"weights: {out}")


def verify(model: Model, file: Annotated[str, arg(metavar="FILE")]) -> None:
    """Check that a file holds a model's weights: every name and every shape, none missing, none left over.

    Args:
        model: Name of the model.
        file: Weights: .safetensors, .npz, .pth or hf:ORG/NAME, in our names or torch's.
    """
    write(library.verify(model, file))


def _restore(run: Path) -> tuple[Net, Variables, Preprocessing]:
    trained = RunFolder(run).restore()
    return trained.model, trained.state.variables, trained.record.preprocessing


def _load(name: str, source: str | None, given: str | None) -> tuple[Net, Variables, Preprocessing]:
    preprocessing = library.find_preprocessing(name, source, given)
    return *library.pretrained(name, source), preprocessing


def _invert(paths: Sequence[Path]) -> "Iterator[Image.Image]":
    from PIL import ImageOps

    for path in paths:
        picture = read_picture(path)
        yield ImageOps.invert(picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB"))
