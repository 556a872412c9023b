"""Whose nets a file of weights is for: mostly ours, or Keras's, TF-slim's, Caffe's."""

from pathlib import Path

from zoo.weights import keras
from zoo.weights.archives import list_arrays
from zoo.weights.caffe import CAFFE
from zoo.weights.caffe_files import CAFFE_SUFFIX
from zoo.weights.files import VARIATION, read_metadata, split_part
from zoo.weights.foreign import Origin
from zoo.weights.hdf5 import KERAS_SUFFIXES
from zoo.weights.keras_applications import APPLICATIONS
from zoo.weights.tensorflow_files import INDEX_SUFFIX, is_table
from zoo.weights.tf_slim import SLIM, has_slim_names

KERAS = Origin(keras.KERAS, "Keras", APPLICATIONS, keras.name_as_ours)
ORIGINS = {origin.name: origin for origin in (KERAS, SLIM, CAFFE)}


def find_writer(path: Path) -> Origin | None:
    """Whose program wrote the file, if its arrays have others' names."""
    path, _ = split_part(path)
    if path.suffix in KERAS_SUFFIXES:
        return KERAS
    if path.suffix == CAFFE_SUFFIX:
        return CAFFE
    if path.suffix == INDEX_SUFFIX or (path.suffix == ".ckpt" and is_table(path)):
        return SLIM
    return SLIM if path.suffix == ".npz" and has_slim_names(list_arrays(path)) else None


def find_origin(path: Path) -> Origin | None:
    """Whose nets the file is for: of its writer, or of what it was converted from."""
    return find_writer(path) or ORIGINS.get(read_metadata(path).get(VARIATION, ""))
