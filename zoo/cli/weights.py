"""`zoo convert`, `verify`, `validate` and `push`: files of trained weights, how good they are, and giving them."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from zoo import weights as library
from zoo.cli.terminal import make_table, working, write
from zoo.data import Split, load, match_classes, read_class_folders
from zoo.errors import UserError
from zoo.training import evaluate_classes, write_run
from zoo.training import push as push_run
from zoo.weights.loading import find_published
from zoo.weights.prediction import fit_channels

Model = Annotated[str, arg(metavar="MODEL")]


def convert(
    model: Model,
    file: Annotated[str, arg(metavar="FILE")],
    out: Annotated[Path, arg(metavar="OUT")],
    *,
    layout: str = "zoo",
    preprocessing: Annotated[str | None, arg(metavar="NAME|JSON", help_behavior_hint="")] = None,
) -> None:
    """Write weights as a .safetensors file, in our layout or in torch's.

    Args:
        model: Name of the model.
        file: Weights: .safetensors, .npz, torch's (.pth, .pt, .bin, .ckpt; FILE#KEY is a part of one), Keras's (.h5,
            .keras), TF-slim's (.ckpt, .ckpt.index), Caffe's (.caffemodel) or hf:ORG/NAME.
        out: The file to write.
        layout: zoo, or the naming of torchvision or timm.
        preprocessing: How these weights want their pictures, to be noted in the file: torchvision, caffe or inception.
    """
    with working("converting"):
        read = library.convert(model, file, out, layout=layout, preprocessing=preprocessing)
    write(f"weights: {out}", *filter(None, [read]))


def verify(model: Model, file: Annotated[str, arg(metavar="FILE")]) -> None:
    """Check that a file holds a model's weights, every name and shape.

    None may be missing, and none left over.

    Args:
        model: Name of the model.
        file: Weights: .safetensors, .npz, torch's (.pth, .pt, .bin, .ckpt; FILE#KEY is a part of one), Keras's (.h5,
            .keras), TF-slim's (.ckpt, .ckpt.index), Caffe's (.caffemodel) or hf:ORG/NAME.
    """
    with working("reading"):
        report = library.verify(model, file)
    write(report)


def validate(
    model: Model,
    *,
    data: Annotated[str | None, arg(metavar="folder:FOLDER", help_behavior_hint="(needed)")] = None,
    weights: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None,
    preprocessing: Annotated[str | None, arg(metavar="NAME|JSON", help_behavior_hint="")] = None,
    batch_size: int = 64,
    max_bad_files: int = 0,
    answers: Annotated[Path | None, arg(metavar="FILE.safetensors", help_behavior_hint="")] = None,
) -> None:
    """Test a model's weights on labelled pictures.

    The shares of right answers stand beside the published ones. Of a folder all pictures are used, FOLDER/CLASS/*.jpg,
    whose folders are named as the classes of the weights, or are as many and in the same order: so are those of
    ImageNet's validation set by their WordNet names.

    Args:
        model: Name of the model.
        data: What it is tested on: folder:FOLDER, or the test images of another source of `zoo train --data`.
        weights: File of the model's weights, or hf:ORG/NAME; the published ones if not given.
        preprocessing: How these weights want their pictures, if their file does not say: torchvision, caffe, inception.
        batch_size: Pictures at once.
        max_bad_files: So many pictures may be left out because they cannot be read.
        answers: Keep the answers in this file; the same command goes on there if it was interrupted.
    """
    if data is None:
        raise UserError("nothing to test on", "name the pictures: --data folder:FOLDER")
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}", "it must be at least 1")
    prepared = library.find_preprocessing(model, weights, preprocessing)
    with working("loading"):
        split = _load_test(data, max_bad_files)
        net, variables = library.pretrained(model, weights)
        names = split.class_names or tuple(map(str, range(split.num_classes)))
        numbers = match_classes(names, library.find_class_names(model, weights), net.num_classes)
        split = replace(
            split,
            labels=numbers[split.labels],
            num_classes=net.num_classes,
            class_names=None,
            preprocessing=fit_channels(partial(net.apply, train=False), variables, prepared),
        )
    with working("testing") as status:
        found = evaluate_classes(
            net,
            variables,
            split,
            batch_size,
            on_batch=lambda n: status.update(f"tested {n:,} of {len(split):,}"),
            file=answers,
        )["running"]
    table = make_table("", "top-1>", "top-5>", "pictures>")
    table.add_row("measured", *(f"{100 * found.top(k):.2f} %" for k in (1, 5)), f"{len(split):,}")
    published = find_published(model, weights)
    if published and published.top1 and published.top5:
        table.add_row("published", f"{published.top1:.2f} %", f"{published.top5:.2f} %", "50,000")
    write(table)


def push(
    run: Annotated[str, arg(metavar="RUN")],
    repository: Annotated[str, arg(metavar="ORG/NAME")],
    *,
    private: bool = False,
    out: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None,
) -> None:
    """Give a finished run to others, on the Hugging Face hub.

    Its weights are written in timm's form, so that timm loads those of the nets that it has, with the names of the
    classes, and a card with figures, curves and recipe.

    Args:
        run: The run folder.
        repository: On the hub; it is made if it is not there.
        private: A new repository is seen by its owners alone.
        out: Write the files into this folder instead, and send nothing.
    """
    with working("writing" if out else "sending"):
        if out:
            write_run(run, out, repository)
        else:
            page = push_run(run, repository, private=private)
    write(f"repository: {out or page}")


def _load_test(source: str, max_bad_files: int) -> Split:
    kind, _, folder = source.partition(":")
    if kind == "folder" and folder:
        return read_class_folders(Path(folder).expanduser(), max_bad_files=max_bad_files)
    return load(source).test
