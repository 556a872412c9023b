"""A run under way: interrupted anywhere, out of memory, and with callbacks and plots that fail."""

import errno
import json
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import jax
import pytest

import zoo
from tests.training.conftest import MLP, NORMALISED, read_run
from zoo import plots
from zoo.errors import UserError
from zoo.training import RunFolder, epochs, preparation, resume
from zoo.training.compilation import TrainStep
from zoo.training.metrics import EpochSums
from zoo.training.saving import Saver

ONE = replace(MLP, epochs=1, batch_size=722)  # two steps
FILES = ["config.json", "metrics.jsonl", "weights.safetensors"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def stop_at(epoch, images):
    def stop(progress, state):
        if (progress.epoch, progress.images) == (epoch, images):
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize(("epoch", "images"), [(1, 64), (1, 1442), (2, 640)])
def test_a_run_interrupted_after_any_step_resumes_there_and_to_the_same_bits(mlp, tmp_path, epoch, images):
    folder, seen = tmp_path / "run", []
    with pytest.raises(KeyboardInterrupt):
        zoo.fit(MLP, folder, on_step=stop_at(epoch, images))
    resume(folder, on_step=lambda progress, state: seen.append((progress.epoch, progress.images)))
    whole = [(progress.epoch, progress.images) for progress in mlp[2]]
    assert seen == whole[whole.index((epoch, images)) + 1 :]
    assert read_run(folder) == read_run(mlp[0])


@pytest.mark.parametrize("plan", [{"checkpoint_minutes": 0}, {"checkpoint_steps": 1}])
def test_a_checkpoint_is_written_by_time_or_steps_and_death_without_a_word_resumes_from_it(
    normalised, tmp_path, monkeypatch, plan
):
    """As kill -9 in the second epoch would have it: nothing runs after the last checkpoint."""
    folder, copy, save = tmp_path / "run", tmp_path / "copy", Saver.save
    monkeypatch.setattr(Saver, "save", lambda saver, *state: (save(saver, *state), saver.wait()))

    def die(progress, state):
        if (progress.epoch, progress.images) == (2, 1065):
            copy.mkdir()
            for path in folder.iterdir():
                (copy / path.name).write_bytes(path.read_bytes())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        zoo.fit(NORMALISED, folder, **plan, on_step=die)
    restored, seen = RunFolder(copy).restore(), []
    assert not restored.finished
    assert [row.epoch for row in restored.history] == [1]
    resume(copy, on_step=lambda progress, state: seen.append(progress.images))
    assert seen == [1065, 1420, 1442]  # the checkpoint is that of the step before
    assert read_run(copy) == read_run(normalised[0])


def test_ctrl_c_waits_for_the_end_of_the_step_and_keeps_it(mlp, tmp_path, monkeypatch):
    """The signal comes while the old state is gone and the new one is not there yet."""
    compile_before, sent = epochs.Training._compile, []

    def compile_(training, step):
        compiled = compile_before(training, step)

        def interrupted(state, batch):
            new = compiled(state, batch)
            if not sent:
                sent.append(os.kill(os.getpid(), signal.SIGINT))
            return new

        return interrupted

    monkeypatch.setattr(epochs.Training, "_compile", compile_)
    before, seen = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt):
        zoo.fit(MLP, tmp_path / "run", on_step=lambda progress, state: seen.append(progress.images))
    assert seen == [64]
    assert signal.getsignal(signal.SIGINT) is before
    resume(tmp_path / "run", on_step=lambda progress, state: seen.append(progress.images))
    assert seen[1] == 128
    assert read_run(tmp_path / "run") == read_run(mlp[0])


def test_a_training_in_another_thread_leaves_signals_alone(tmp_path):
    result = []
    thread = threading.Thread(target=lambda: result.append(zoo.fit(ONE, tmp_path / "run")))
    thread.start()
    thread.join()
    assert len(result[0].history) == 1


def test_callbacks_are_given_the_state_after_the_step_and_the_epoch(tmp_path):
    steps, rows = [], []
    zoo.fit(
        replace(ONE, epochs=2),
        tmp_path / "run",
        on_step=lambda progress, state: steps.append((progress.images, int(state.step))),
        on_epoch=lambda row, state: rows.append((row.epoch, int(state.step))),
    )
    assert steps == [(722, 1), (1442, 2), (722, 3), (1442, 4)]
    assert rows == [(1, 2), (2, 4)]


def test_the_last_epoch_is_safe_before_its_callback_is_called(tmp_path):
    def look(row, state):
        assert names(tmp_path / "run") == sorted([*FILES, "lock"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        zoo.fit(ONE, tmp_path / "run", on_epoch=look)
    assert len(RunFolder(tmp_path / "run").restore().history) == 1


@pytest.mark.parametrize("which", ["on_step", "on_epoch"])
@pytest.mark.parametrize("error", [ValueError("two\nlines"), OSError(errno.EPIPE, "Broken pipe"), MemoryError()])
def test_a_callback_that_fails_is_one_line_and_the_training_continues(tmp_path, which, error):
    def fail(progress, state):
        raise error

    with pytest.warns(
        UserWarning, match=rf"^{which} failed, and the training continues: {type(error).__name__}.*$"
    ) as seen:
        zoo.fit(ONE, tmp_path / "run", **{which: fail})
    assert all("\n" not in str(warning.message) for warning in seen)
    assert names(tmp_path / "run") == sorted([*FILES, "curves.png"])


def fail_with(error):
    def fail(*arguments, **options):
        raise error

    return fail


BROKEN_PLOTS = {
    "no matplotlib": (lambda m: m.setitem(sys.modules, "matplotlib.figure", None), "ModuleNotFoundError"),
    "a broken matplotlib": (lambda m: m.setattr(plots, "plot_curves", fail_with(ImportError("libpng"))), "libpng"),
    "a picture it cannot draw": (lambda m: m.setattr(plots, "plot_curves", fail_with(ValueError("log of 0"))), "log"),
    "no memory": (lambda m: m.setattr(plots, "plot_curves", fail_with(MemoryError())), "MemoryError"),
    "a full disk": (
        lambda m: m.setattr("matplotlib.figure.Figure.savefig", fail_with(OSError(errno.ENOSPC, "No space left"))),
        "the disk is full",
    ),
    "a warning made an error": (
        lambda m: m.setattr("matplotlib.figure.Figure.savefig", fail_with(UserWarning("a glyph is missing"))),
        "a glyph is missing",
    ),
    "no folder": (lambda m: m.setattr(plots, "write_plot", fail_with(FileNotFoundError(2, "gone"))), "gone"),
}


@pytest.mark.parametrize(("spoil", "reason"), BROKEN_PLOTS.values(), ids=BROKEN_PLOTS)
def test_a_plot_that_fails_in_whatever_way_is_one_line_and_the_run_is_finished(tmp_path, monkeypatch, spoil, reason):
    spoil(monkeypatch)
    with pytest.warns(UserWarning, match=rf"curves\.png was not drawn: .*{reason}") as seen:
        result = zoo.fit(ONE, tmp_path / "run")
    assert len(seen) == 1
    assert "\n" not in str(seen[0].message)
    assert result.curves is None
    assert names(tmp_path / "run") == FILES


@pytest.mark.parametrize(
    "error",
    [
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 68719476736 bytes.\nand more\n"),
        MemoryError("Unable to allocate 64. GiB for an array"),
    ],
)
@pytest.mark.parametrize("where", ["first weights", "step"])
def test_too_little_memory_is_one_line_that_names_what_to_lower(tmp_path, monkeypatch, error, where):
    if where == "step":
        monkeypatch.setattr(epochs, "make_train_step", lambda *_, **__: TrainStep(fail_with(error)))
    else:
        monkeypatch.setattr(preparation, "create_train_state", fail_with(error))
    message = (
        r"the memory is too small for a step of mlp with batch_size=722 and 8x8 images: choose a smaller batch_size"
    )
    with pytest.raises(UserError, match=message):
        zoo.fit(ONE, tmp_path / "run")


def test_a_batch_that_no_memory_holds_is_one_line(tmp_path):
    with pytest.raises(UserError, match="the memory is too small for a step of mlp with batch_size=1000000000000"):
        zoo.fit(replace(ONE, batch_size=10**12), tmp_path / "run")


def test_another_error_of_the_device_stays_what_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(
        epochs, "make_train_step", lambda *_, **__: TrainStep(fail_with(jax.errors.JaxRuntimeError("INTERNAL: bug")))
    )
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        zoo.fit(ONE, tmp_path / "run")


def test_the_speed_has_no_compilation_in_it(tmp_path, monkeypatch):
    compile_ = epochs.Training._compile

    def compile_slowly(training, step):
        time.sleep(1)
        return compile_(training, step)

    monkeypatch.setattr(epochs.Training, "_compile", compile_slowly)
    row = zoo.fit(ONE, tmp_path / "run").history[0]
    assert row.images_per_second > 2 * 1442


def test_sums_are_means_of_the_images_and_their_speed_that_of_the_steps():
    sums = EpochSums(3)
    for loss, count, seconds in ((1.0, 64, 0.5), (4.0, 32, 0.1)):
        sums = sums.add({"loss": loss, "accuracy": 0.5, "count": count}, seconds, seconds)
    progress = sums.to_progress(200)
    assert (progress.loss, progress.accuracy, progress.images, progress.of_images) == (2.0, 0.5, 96, 200)
    assert progress.images_per_second == pytest.approx(160)
    assert EpochSums(**json.loads(json.dumps(vars(sums)))) == sums


def test_two_trainings_do_not_share_a_folder(tmp_path):
    """Neither a new one, nor one that overwrites, nor a resumed one, beside one that is under way."""
    folder, messages = tmp_path / "run", []
    attempts = [
        lambda: zoo.fit(ONE, folder),
        lambda: zoo.fit(ONE, folder, overwrite=True),
        lambda: resume(folder),
    ]

    def intrude(row, state):
        for attempt in attempts:
            with pytest.raises(UserError, match=f"is being trained by process {os.getpid()} on") as refused:
                attempt()
            messages.append(refused.value.code)

    result = zoo.fit(ONE, folder, on_epoch=intrude)
    assert messages == 3 * ["run-in-use"]
    assert names(folder) == sorted([*FILES, "curves.png"])
    assert RunFolder(folder).read_metrics() == result.history


def test_a_full_disk_says_what_to_do_and_the_run_can_be_resumed(mlp, tmp_path, monkeypatch):
    folder, place = tmp_path / "run", Path.replace

    def full(path, target):
        if "checkpoint" in target.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return place(path, target)

    with monkeypatch.context() as context:
        context.setattr(Path, "replace", full)
        with pytest.raises(OSError, match=r"checkpoint_0001\.safetensors was not written: the disk is full, make room"):
            zoo.fit(MLP, folder)
    assert names(folder) == ["config.json", "metrics.jsonl"]
    resume(folder)
    assert read_run(folder) == read_run(mlp[0])


def test_metrics_lost_between_the_last_checkpoint_and_its_metrics_are_written_by_resume(mlp, tmp_path, monkeypatch):
    write = RunFolder.write_metrics

    def die(run, history, steps):
        if len(history) == 2:
            raise KeyboardInterrupt
        write(run, history, steps)

    monkeypatch.setattr(RunFolder, "write_metrics", die)
    with pytest.raises(KeyboardInterrupt):
        zoo.fit(MLP, tmp_path / "run")
    monkeypatch.undo()
    assert len(RunFolder(tmp_path / "run").read_metrics()) == 1
    resume(tmp_path / "run")
    assert read_run(tmp_path / "run") == read_run(mlp[0])
