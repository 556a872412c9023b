"""Labelled images and pictures on their way to a net."""

from zoo.data.sources import SOURCES, Dataset, Preparation, Splits, batches, load

__all__ = ["SOURCES", "Dataset", "Preparation", "Splits", "batches", "load"]
