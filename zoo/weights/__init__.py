"""Trained weights: files and the hub, key maps of the torch world, prediction."""

from zoo.weights.conversion import convert, verify
from zoo.weights.exporting import Report, export
from zoo.weights.files import read, read_metadata, save, write_arrays
from zoo.weights.keras import from_keras, to_keras
from zoo.weights.key_maps import COUNTER, ZOO, layouts, slots
from zoo.weights.loading import load, pretrained
from zoo.weights.prediction import Prediction, find_class_names, find_preprocessing, predict
from zoo.weights.state_dict import from_torch, to_torch
from zoo.weights.tf_slim import from_tf_slim
