"""`zoo predict` and `explain`: what a trained net sees in pictures, and where."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import numpy as np
from tyro.conf import arg

from zoo import explain as library
from zoo import plots
from zoo.cli.nets import Labels, NetName, Opened, PreprocessingName, Weights, open_net
from zoo.cli.runs import NO_PLOT
from zoo.cli.terminal import working, write, write_exactly
from zoo.data import Picture, find_pictures, prepare_digit, read_picture
from zoo.data.preprocessing import prepare_pixels, standardise
from zoo.errors import UserError
from zoo.models import registry
from zoo.weights import Prediction
from zoo.weights import predict as predict_pictures
from zoo.weights.prediction import fit_channels

TOP = 5  # classes of each picture
DRAWN = 3  # classes of the picture that is explained


def predict(
    net: NetName,
    pictures: Annotated[tuple[Path, ...], arg(metavar="PICTURE|FOLDER...", help_behavior_hint="")],
    *,
    weights: Weights = None,
    preprocessing: PreprocessingName = None,
    labels: Labels = None,
    invert: bool = False,
    digit: bool = False,
    json: bool = False,
    csv: bool = False,
) -> None:
    """Name the most probable classes of pictures.

    Args:
        net: A run folder, whose images tell how the pictures are prepared, or a model, whose weights do.
        pictures: Picture files, and folders with them.
        weights: File of the model's weights, or hf:ORG/NAME; the published ones if not given.
        preprocessing: How the weights want their pictures, if their file does not say: torchvision, caffe or inception.
        labels: Class names, one per line or a JSON list; runs have their own, published weights ImageNet's.
        invert: Swap dark and light: digits are light on dark, ink on paper is the other way round. For run folders.
        digit: Find the drawn digit, dark or light, and size and centre it as the run's images are. For run folders.
        json: Print JSON, a list with an object for each picture.
        csv: Print CSV, a line for each class of each picture.
    """
    if not pictures:
        raise UserError("no picture given", "zoo predict RUN IMAGE..., or zoo predict MODEL --weights FILE IMAGE...")
    if json and csv:
        raise UserError("JSON and CSV are two ways to print the same", "leave out --json or --csv")
    paths = [path for given in pictures for path in (find_pictures(given) if given.is_dir() else [given])]
    opened = open_net(net, weights, preprocessing, labels)
    if (invert or digit) and not opened.config:
        raise UserError(f"{net} gets its pictures as its weights say", "leave out --invert and --digit")
    given = _prepare(paths, opened, invert=invert, digit=digit)
    with working("predicting"):
        answers = predict_pictures(
            opened.model, opened.variables, given, opened.preprocessing, labels=opened.class_names, top=TOP
        )
    if json:
        write_exactly(_format_json(paths, answers))
    elif csv:
        write_exactly(_format_csv(paths, answers))
    else:
        write(*(line for path, best in zip(paths, answers, strict=True) for line in _list_answers(path, best)))


def explain(
    net: NetName,
    picture: Annotated[Path, arg(metavar="PICTURE")],
    *,
    endpoint: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the last map)")] = None,
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: PICTURE_explained.png)")] = None,
    weights: Weights = None,
    preprocessing: PreprocessingName = None,
    labels: Labels = None,
) -> None:
    """Draw where a net sees its classes in a picture, by Grad-CAM.

    The most probable classes are drawn over the photograph, and below it the filters of the first layer.

    Args:
        net: A run folder, or a model.
        picture: The picture file.
        endpoint: The map that is looked at; `zoo show MODEL` lists them.
        out: The PNG file to write.
        weights: File of the model's weights, or hf:ORG/NAME; the published ones if not given.
        preprocessing: How the weights want their pictures, if their file does not say: torchvision, caffe or inception.
        labels: Class names, one per line or a JSON list; runs have their own, published weights ImageNet's.
    """
    if find_spec("matplotlib") is None:
        raise ModuleNotFoundError(NO_PLOT)
    opened = open_net(net, weights, preprocessing, labels)
    model, variables, endpoint = opened.model, opened.variables, _choose_endpoint(opened.name, endpoint)
    path = Path(f"{picture.stem}_explained.png") if out is None else out
    with working("looking"):
        (best,) = predict_pictures(model, variables, [picture], opened.preprocessing, top=DRAWN)
        classes = [int(number) for number, _ in best]
        prepared = fit_channels(partial(model.apply, train=False), variables, opened.preprocessing)
        pixels = prepare_pixels(picture, prepared)
        images = np.stack([standardise(pixels.astype(np.float32), prepared)] * len(classes))
        maps = np.asarray(library.grad_cam(model, variables, images, endpoint, np.array(classes)))
        filters = library.find_first_filters(model, variables, prepared.image_shape)
        if opened.class_names is not None:
            best = [
                Prediction(opened.class_names[number], share) for number, (_, share) in zip(classes, best, strict=True)
            ]
        shown = {f"{label}, {100 * share:.1f} %": map_ for (label, share), map_ in zip(best, maps, strict=True)}
        title = f"{picture} as {net} sees it: Grad-CAM at {endpoint}"
        plots.write_plot(plots.plot_explanation(pixels, shown, filters, title=title), path)
    write(*_list_answers(picture, best), f"picture: {path}")


def _choose_endpoint(name: str, endpoint: str | None) -> str:
    """The endpoint that was asked for, or the last one that is a map."""
    maps = [end for end, (stride, _) in registry.variant(name).endpoints.items() if stride]
    if not maps:
        raise UserError(f"{name} has no maps in which a class could be seen somewhere", "choose a convolutional net")
    if endpoint is not None and endpoint not in maps:
        raise UserError(f"{name} has no map {endpoint!r}", f"it has {', '.join(maps)}")
    return endpoint or maps[-1]


def _list_answers(path: Path, best: Sequence[Prediction]) -> list[str]:
    return [str(path), *(f"{100 * probability:7.1f} %  {label}" for label, probability in best)]


def _format_json(paths: Sequence[Path], answers: Sequence[Sequence[Prediction]]) -> str:
    """A list with a line for each picture."""
    lines = [
        json.dumps({"picture": str(path), "classes": [{"class": label, "probability": p} for label, p in best]})
        for path, best in zip(paths, answers, strict=True)
    ]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _format_csv(paths: Sequence[Path], answers: Sequence[Sequence[Prediction]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("picture", "rank", "class", "probability"))
    for path, best in zip(paths, answers, strict=True):
        table.writerows((path, rank, label, probability) for rank, (label, probability) in enumerate(best, 1))
    return text.getvalue()


def _prepare(paths: Sequence[Path], opened: Opened, *, invert: bool, digit: bool) -> Iterable[Picture]:
    """The pictures, as a run on digits wants those drawn by hand."""
    if digit and opened.config:
        return _prepare_digits(paths, 8 if opened.config.data == "digits" else 28)
    return _invert(paths) if invert else paths


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
