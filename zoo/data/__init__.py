"""Labelled images and pictures, and what is done to them before a net sees them."""

from zoo.data.class_names import read_class_names
from zoo.data.dataset import Dataset, Splits, make_splits
from zoo.data.handwriting import prepare_digit
from zoo.data.loader import batches
from zoo.data.pictures import Picture, read_picture
from zoo.data.preprocessing import PRESETS, Preprocessing, prepare_images, prepare_picture
from zoo.data.sources import SOURCES, load
