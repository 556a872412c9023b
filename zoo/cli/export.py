"""`zoo export`: a trained net as a file for elsewhere."""

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from zoo.cli.nets import NetName, PreprocessingName, Weights, open_net
from zoo.cli.terminal import working, write
from zoo.weights import export as export_net


def export(
    net: NetName,
    out: Annotated[Path, arg(metavar="OUT.stablehlo|OUT.onnx")],
    *,
    pixels: bool = False,
    any_size: bool = False,
    beside: bool = False,
    weights: Weights = None,
    preprocessing: PreprocessingName = None,
) -> None:
    """Write a trained net for other programs: StableHLO or ONNX.

    The file takes any number of images [N, H, W, C] and gives logits. It is written if it answers random images as the
    net does.

    Args:
        net: A run folder, or a model.
        out: The file to write, .stablehlo (jax.export) or .onnx.
        pixels: The file takes bytes from 0 to 255 and standardises them itself.
        any_size: Height and width are open too, for .stablehlo and nets that take any size.
        beside: Write the weights to a file of their own: OUT.stablehlo.safetensors or OUT.onnx.data.
        weights: File of the model's weights, or hf:ORG/NAME; the published ones if not given.
        preprocessing: How the weights want their pictures, if their file does not say: torchvision, caffe or inception.
    """
    opened = open_net(net, weights, preprocessing, None)
    with working("exporting"):
        report = export_net(
            out,
            opened.model,
            opened.variables,
            opened.preprocessing,
            class_names=opened.class_names,
            pixels=pixels,
            any_size=any_size,
            beside=beside,
        )
    for title, file in zip(("net", "weights"), report.files, strict=False):
        write(f"{title}: {file} ({file.stat().st_size / 1e6:,.1f} MB)")
    write(f"takes: {report.images}", f"largest difference from the net, of its largest logit: {report.difference:.1e}")
