"""Labelled images and pictures, and what is done to them before a net sees them."""

from zoo.data.augmentation import Augmentation, make_augment
from zoo.data.class_names import imagenet_class_names, match_classes, read_class_names
from zoo.data.dataset import Dataset, PictureFiles, Split, Splits, make_splits
from zoo.data.folder import find_pictures, read_class_folders
from zoo.data.handwriting import prepare_digit
from zoo.data.loader import batches
from zoo.data.pictures import Picture, read_picture
from zoo.data.preprocessing import PRESETS, Box, Preprocessing, prepare_images, prepare_picture
from zoo.data.sources import SOURCES, load
