"""Checkpoints written by TensorFlow 2.12: `python -m tests.support.tensorflow_files` writes the fixtures."""

from pathlib import Path

import ml_dtypes
import numpy as np

FOLDER = Path(__file__).parents[1] / "fixtures" / "tensorflow"


def arrays() -> dict[str, np.ndarray]:
    """What is in `new.ckpt`; `old.ckpt` has neither of the last two."""
    rng = np.random.RandomState(0)
    return {
        "Net/conv/weights": rng.standard_normal((2, 2, 2, 3)).astype(np.float32),
        "Net/conv/BatchNorm/beta": rng.standard_normal(3).astype(np.float32),
        "Net/double": rng.standard_normal(5),
        "Net/scalar": np.array(2.5, np.float32),
        "Net/zeros": np.zeros((3, 2), np.float32),
        "Net/half": rng.standard_normal(3).astype(np.float16),
        "Net/bfloat16": rng.standard_normal(3).astype(ml_dtypes.bfloat16),
    }


def write(folder: Path) -> None:
    """Both formats, with a counter of steps."""
    import tensorflow.compat.v1 as tf

    tf.disable_v2_behavior()
    with tf.Graph().as_default(), tf.Session() as session:
        net = {name: tf.get_variable(name, initializer=tf.constant(array)) for name, array in arrays().items()}
        step = tf.get_variable("global_step", initializer=tf.constant(7, tf.int64))
        session.run(tf.global_variables_initializer())
        old = [variable for name, variable in net.items() if name not in ("Net/half", "Net/bfloat16")]
        for name, variables, version in (("old", old, 1), ("new", [*net.values()], 2)):
            saver = tf.train.Saver([*variables, step], write_version=version)
            saver.save(session, str(folder / f"{name}.ckpt"), write_meta_graph=False, write_state=False)


if __name__ == "__main__":
    write(FOLDER)
