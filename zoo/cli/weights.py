"""`zoo predict`, `convert` and `verify`: trained weights at work, and files of them."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from zoo import weights as library
from zoo.cli.runs import restore
from zoo.cli.terminal import working, write
from zoo.data import Picture, prepare_digit, read_class_names, read_picture
from zoo.errors import UserError
from zoo.models import registry
from zoo.training import RunFolder

Model = Annotated[str, arg(metavar="MODEL")]
TOP = 5  # classes of each picture


def predict(
    net: Annotated[str, arg(metavar="RUN|MODEL")],
    images: Annotated[tuple[Path, ...], arg(metavar="IMAGE...", help_behavior_hint="")],
    *,
    weights: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None,
    preprocessing: Annotated[str | None, arg(metavar="NAME|JSON", help_behavior_hint="")] = None,
    labels: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None,
    invert: bool = False,
    digit: bool = False,
) -> None:
    """Name the most probable classes of pictures.

    Args:
        net: A run folder, whose images tell how the pictures are prepared, or a model, whose weights do.
        images: Picture files.
        weights: File of the model's weights, or hf:ORG/NAME; the published ones if not given.
        preprocessing: How the weights want their pictures, if their file does not say: torchvision, caffe or inception.
        labels: Class names, one per line or a JSON list; published weights have ImageNet's.
        invert: Swap dark and light: digits are light on dark, ink on paper is the other way round. For run folders.
        digit: Find the drawn digit, dark or light, and size and centre it as the run's images are. For run folders.
    """
    if not images:
        raise UserError("no picture given", "zoo predict RUN IMAGE..., or zoo predict MODEL --weights FILE IMAGE...")
    of_run = _is_run(net, weights)
    if of_run and (weights or preprocessing):
        raise UserError(f"{net} is a run folder, which has its own weights", "leave out --weights and --preprocessing")
    if (invert or digit) and not of_run:
        raise UserError(f"{net} gets its pictures as its weights say", "leave out --invert and --digit")
    pictures: Iterable[Picture] = images
    if of_run:
        trained = restore(Path(net))
        model, variables, prepared = trained.model, trained.state.variables, trained.record.preprocessing
        if digit:
            pictures = _prepare_digits(images, 8 if trained.record.config.data == "digits" else 28)
        elif invert:
            pictures = _invert(images)
    else:
        with working("loading"):
            prepared = library.find_preprocessing(net, weights, preprocessing)
            model, variables = library.pretrained(net, weights)
    names: Sequence[str] | None = None
    if labels:
        names = read_class_names(labels, model.num_classes)
    elif not of_run:
        names = library.find_class_names(net, weights)
    with working("predicting"):
        answers = library.predict(model, variables, pictures, prepared, labels=names, top=TOP)
    for path, best in zip(images, answers, strict=True):
        write(str(path), *(f"{100 * probability:7.1f} %  {label}" for label, probability in best))


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
    with working("converting"):
        library.convert(model, file, out, layout=layout, preprocessing=preprocessing)
    write(f"weights: {out}")


def verify(model: Model, file: Annotated[str, arg(metavar="FILE")]) -> None:
    """Check that a file holds a model's weights, every name and shape.

    None may be missing, and none left over.

    Args:
        model: Name of the model.
        file: Weights: .safetensors, .npz, .pth or hf:ORG/NAME, in our names or torch's.
    """
    with working("reading"):
        report = library.verify(model, file)
    write(report)


def _is_run(name: str, weights: str | None) -> bool:
    """Whether `predict` was given a run folder. A model's name is a model, whatever lies under that name beside it.

    Raises:
      UserError: a run lies there.
    """
    if name not in registry.list_models():
        return weights is None or Path(name).exists()
    if weights is None and RunFolder(name).config_path.exists():
        raise UserError(
            f"{name} is a model and a run folder", f"./{name} is the run, {name} --weights FILE is the model"
        )
    return False


def _prepare_digits(paths: Iterable[Path], size: int) -> Iterator[Picture]:
    for path in paths:
        try:
            yield prepare_digit(path, size)
        except UserError as error:
            named = str(path) in error.problem
            raise error if named else UserError(f"{path}: {error.problem}", error.remedy) from error


def _invert(paths: Iterable[Path]) -> Iterator[Picture]:
    from PIL import ImageOps

    for path in paths:
        yield ImageOps.invert(read_picture(path))
