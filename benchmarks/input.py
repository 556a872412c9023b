"""Does the step wait for its pictures? Images a second of reading alone, of the step alone, and of both together.

taskset -c 0 python benchmarks/input.py [MODEL] [BATCH] [FOLDER]

The pictures are JPEGs of one photograph at 500x375, or those of a FOLDER (`folder:`). Grain and OpenCV are measured
beside zoo's threads and Pillow where they are installed: `pip install grain opencv-python-headless`.
"""

import importlib.util
import itertools
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import optax
from PIL import Image
from side_by_side import print_head, print_machine, print_row
from skimage import data as photographs

import zoo
from zoo.data import Augmentation, batches, make_augment
from zoo.data.crops import draw_crop
from zoo.losses import softmax_cross_entropy

AUGMENTATION = Augmentation(crop_area=0.08, flip=0.5, colour=0.4)
SECONDS = 10  # that each line takes


def write_folder(folder, count=64):
    """A folder of two classes with JPEG files of ImageNet's usual size."""
    picture = Image.fromarray(photographs.astronaut()).resize((500, 375), Image.Resampling.BICUBIC)
    for i in range(count):
        path = folder / ("train", "val")[i % 8 == 0] / f"class{i % 3 % 2}" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.rotate(i % 90).save(path, "JPEG", quality=90)


def speed(drawn, use=lambda batch: None):
    """Images a second of batches, once the first is there; `use` gives what is to be waited for."""
    batch = next(drawn)
    jax.block_until_ready(use(batch))
    start, images = time.perf_counter(), 0
    for batch in drawn:
        last = use(batch)
        images += batch["mask"].sum()
        if time.perf_counter() - start > SECONDS:
            break
    jax.block_until_ready(last)
    return images / (time.perf_counter() - start)


def epochs(split, batch_size):
    """Full batches, epoch after epoch."""
    for epoch in itertools.count():
        drawn = batches(split, batch_size, seed=0, epoch=epoch, augmentation=AUGMENTATION)
        yield from (batch for batch in drawn if batch["mask"].all())


def grain_batches(split, batch_size):
    """The same reading by Grain's threads."""
    import grain

    def read(row, random):
        return split.read_image(row, draw_crop(random, *split.picture_size(row), AUGMENTATION.crop_area))

    rows = grain.MapDataset.range(len(split)).seed(0).shuffle().repeat().random_map(read)
    reading = rows.to_iter_dataset(grain.ReadOptions(num_threads=8, prefetch_buffer_size=2 * batch_size))
    for images in reading.batch(batch_size):
        yield {"image": images, "mask": np.ones(batch_size, bool)}


def opencv_batches(split, batch_size):
    """The same threads with OpenCV's decoder, whose pixels are Pillow's."""
    import cv2

    from zoo.data.loader import read_ahead

    cv2.setNumThreads(1)

    def read(row):
        random = np.random.default_rng((0, row))
        top, left, height, width = draw_crop(random, *split.picture_size(row), AUGMENTATION.crop_area)
        pixels = cv2.imread(str(split.paths[row]), cv2.IMREAD_COLOR_RGB)
        picture = Image.fromarray(pixels)
        shape = split.preprocessing.image_shape[1::-1]
        return np.asarray(picture.resize(shape, Image.Resampling.BILINEAR, (left, top, left + width, top + height)))

    images = read_ahead(read, itertools.cycle(range(len(split))), ahead=2 * batch_size)
    while True:
        yield {"image": np.stack([*itertools.islice(images, batch_size)]), "mask": np.ones(batch_size, bool)}


def main(model="resnet18", batch_size="32", folder=None):
    print_machine()
    with tempfile.TemporaryDirectory() as made:
        if folder is None:
            write_folder(Path(made))
        split, batch_size = zoo.data.load(f"folder:{folder or made}").train, int(batch_size)
        net = zoo.create(model, num_classes=split.num_classes)
        state = zoo.create_train_state(net, jax.random.key(0), optax.sgd(0.1), split.preprocessing.image_shape)
        step = zoo.make_train_step(softmax_cross_entropy, augment=make_augment(AUGMENTATION, split))
        step, states = step.lower(state, next(epochs(split, batch_size))).compile(), [state]

        def train(batch):
            states[0], metrics = step(states[0], batch)
            return metrics

        print_head(f"{model}, batches of {batch_size}", "images/s")
        print_row("reading alone, zoo (threads, Pillow)", speed(epochs(split, batch_size)))
        if importlib.util.find_spec("grain"):
            print_row("reading alone, Grain (threads, Pillow)", speed(grain_batches(split, batch_size)))
        if importlib.util.find_spec("cv2"):
            print_row("reading alone, zoo (threads, OpenCV's decoder)", speed(opencv_batches(split, batch_size)))
        print_row("step alone, with its augmentation", speed(itertools.repeat(next(epochs(split, batch_size))), train))
        print_row("both", speed(epochs(split, batch_size), train))


if __name__ == "__main__":
    main(*sys.argv[1:])
