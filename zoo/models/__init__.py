"""The nets: one module per family, and what finds and makes them by name.

A family opens with its paper and where it departs from it, and ends with `VARIANTS`, its table of named nets.
"""

from zoo.models.layout import Layout
from zoo.models.net import Net
from zoo.models.registry import create, family, list_models, variant
from zoo.models.variants import PublishedWeights, Variant
