"""The command line: what it prints, and that a wrong request is one line and exit code 2."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import zoo
from zoo import data
from zoo.cli import main as cli
from zoo.training import RunFolder, RunRecord, TrainConfig, loop


def call(capsys, *arguments):
    """Exit code, stdout, stderr."""
    code = cli.main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of one epoch on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "mlp"
    assert cli.main(["train", "mlp", "--epochs", "1", "--batch-size", "128", "--out", str(folder)]) == 0
    return folder


def test_train_reports_epochs_and_ends_with_both_accuracies_and_the_picture(run, tmp_path, capsys):
    again = tmp_path / "again"
    arguments = ["train", "mlp", "--epochs", 1, "--batch-size", 128, "--out", again]
    code, out, err = call(capsys, *arguments)
    assert code == 0
    assert re.search(r"^epoch 1/1  loss \d\.\d+  accuracy .*running, .*batch .*images/s$", err, re.MULTILINE)
    assert re.search(r"running +\d\.\d{4} +\d+\.\d\d% *\n *batch +\d\.\d{4} +\d+\.\d\d%", out)
    assert f"curves: {again / 'curves.png'}" in out
    assert (again / "curves.png").exists()
    code, _, err = call(capsys, *arguments)
    assert (code, err) == (
        2,
        f"zoo: {again} holds a finished run: choose another --out, or replace it with --overwrite.\n",
    )


def test_eval_prints_the_figures_of_the_training(run, capsys):
    last = RunFolder(run).metrics_path.read_text()
    code, both, _ = call(capsys, "eval", run)
    assert code == 0
    for name in ("running", "batch"):
        printed = re.search(rf"{name} +(\S+) +(\S+)%", both)
        recorded = [float(re.search(rf'"test_{m}_{name}": ([^,]+)', last)[1]) for m in ("loss", "accuracy")]
        assert float(printed[1]) == pytest.approx(recorded[0], abs=1e-4)
        assert float(printed[2]) == pytest.approx(100 * recorded[1], abs=1e-2)
    _, one, _ = call(capsys, "eval", run, "--statistics", "batch")
    assert "batch" in one
    assert "running" not in one


def test_predict_names_the_classes_of_pictures_of_any_size_and_either_contrast(run, tmp_path, capsys):
    test = data.load("digits").test
    grey = test.images[3, ..., 0]
    Image.fromarray(grey).save(tmp_path / "digit.png")
    Image.fromarray(255 - grey).resize((64, 64), Image.Resampling.NEAREST).convert("RGB").save(tmp_path / "ink.png")
    code, out, _ = call(capsys, "predict", run, tmp_path / "digit.png")
    trained = RunFolder(run).restore()
    logits = trained.model.apply(
        trained.state.variables, data.prepare_images(test.images[3:4], test.preprocessing), train=False
    )
    shares = np.asarray(jax.nn.softmax(logits))[0]
    order = np.argsort(-shares)
    expected = [f"{label}  {100 * shares[label]:.1f} %" for label in order[:5]]
    row = out.splitlines()[-2].strip()
    assert code == 0
    assert re.split(r" {3,}", row) == [str(tmp_path / "digit.png"), *expected]
    _, out, _ = call(capsys, "predict", run, tmp_path / "ink.png", "--invert")
    assert re.split(r" {3,}", out.splitlines()[-2].strip())[1].startswith(f"{order[0]}  ")


def test_list_and_show_print_the_published_figures(capsys):
    code, out, _ = call(capsys, "list", "resnet?[0]")
    assert code == 0
    assert re.search(r"resnet20 +269,722 +40,551,040 +32x32x3 +He et al. 2015", out)
    assert "lenet" not in out
    code, out, _ = call(capsys, "show", "lenet5")
    assert code == 0
    assert re.search(r"c3 +PartialConv +10x10x16 +1,516 +150,000", out)
    assert re.search(r"total +60,850 +326,520", out)
    assert re.search(r"s4 +5x5x16 *\n", out)
    assert re.search(r"c1 +Conv +12x12x6 ", call(capsys, "show", "lenet5", "--image-size", 16)[1])


@pytest.mark.parametrize("command", [[], *([name] for name in cli.COMMANDS)])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main([*command, "--help"])
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: zoo {' '.join(command)}".strip() in out
    assert "STR..." not in out


WRONG = {
    "unknown model": (["train", "lenet6"], "'lenet5'? `zoo list` shows all models."),
    "unknown data": (["train", "mlp", "--data", "digit"], "did you mean 'digits'?"),
    "missing data folder": (["train", "mlp", "--data", "idx:nowhere"], "no folder 'nowhere'"),
    "folder without data": (["train", "mlp", "--data", "idx:empty"], "no train-images-idx3-ubyte"),
    "truncated data": (["train", "mlp", "--data", "idx:cut"], "its header promises"),
    "batch size 0": (["train", "mlp", "--batch-size", "0"], "batch_size is 0"),
    "negative epochs": (["train", "mlp", "--epochs", "-3"], "epochs is -3"),
    "small images": (["train", "lenet5", "--image-size", "8"], "at least 16x16, got 8x8"),
    "out is a file": (["train", "mlp", "--out", "text.txt"], "is a file: choose another --out."),
    "out has other files": (
        ["train", "mlp", "--out", ".", "--overwrite"],
        "holds other files and not a run: choose another --out.",
    ),
    "out cannot be made": (["train", "mlp", "--out", "text.txt/run"], "text.txt"),
    "no run to test": (["eval", "nowhere"], "no run in 'nowhere': `zoo train MODEL --out nowhere` makes one"),
    "no run to resume": (["resume", "empty"], "no run in 'empty'"),
    "no run to predict": (["predict", "nowhere", "text.txt"], "no run in 'nowhere'"),
    "no such models": (["list", "x*"], "no model matches 'x*'"),
    "unknown model to show": (["show", "resnet21"], "'resnet2"),
    "too small to show": (["show", "lenet5", "--image-size", "8"], "at least 16x16"),
    "no size to show": (["show", "lenet5", "--image-size", "0"], "image_size is 0"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_request_is_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("cut").mkdir()
    Path("cut", "train-images-idx3-ubyte").write_bytes(bytes((0, 0, 8, 3, 0, 0, 0, 9)))
    Path("text.txt").write_text("no picture")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("zoo: ")
    assert err.count("\n") == 1
    assert message in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("name", "message"), [("none.png", "none.png"), ("text.png", "text.png")])
def test_a_picture_that_cannot_be_read_is_one_line(run, tmp_path, name, message, capsys):
    (tmp_path / "text.png").write_text("no picture")
    code, out, err = call(capsys, "predict", run, tmp_path / name)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_predict_without_a_picture_is_one_line(run, capsys):
    code, out, err = call(capsys, "predict", run)
    assert (code, out) == (2, "")
    assert err.startswith("zoo: no picture given: zoo predict RUN IMAGE...")


def test_weights_are_converted_verified_and_put_to_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = zoo.create("resnet20")
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    zoo.save("ours.safetensors", variables, name="resnet20")
    theirs, picture, names = Path("theirs.safetensors"), Path("grey.png"), Path("names.txt")
    Image.new("RGB", (40, 50), "grey").save(picture)
    names.write_text("\n".join(f"class {i}" for i in range(10)))
    convert = ("convert", "resnet20", "ours.safetensors", theirs, "--layout", "torchvision")
    assert call(capsys, *convert, "--preprocessing", '{"size": 32}')[0] == 0
    assert "269,722 parameters" in call(capsys, "verify", "resnet20", theirs)[1]
    code, out, _ = call(capsys, "predict", "resnet20", picture, "--weights", theirs, "--labels", names)
    assert code == 0
    assert re.search(r"grey.png +class \d  \d+\.\d %", out)
    code, out, err = call(capsys, "verify", "resnet32", theirs)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "resnet20" in err
    assert call(capsys, "predict", "resnet20", picture, "--weights", theirs, "--invert")[0] == 2


def test_a_run_that_was_spoilt_is_one_line(run, tmp_path, capsys):
    for path in run.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[:-20])
    code, out, err = call(capsys, "eval", tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    (tmp_path / "config.json").write_bytes((run / "config.json").read_bytes())
    code, out, err = call(capsys, "eval", tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "weights.safetensors cannot be read" in err
    (tmp_path / "weights.safetensors").unlink()
    assert "is not finished: `zoo resume" in call(capsys, "eval", tmp_path)[2]


def numpy_bug(pattern: str = "*") -> None:
    np.zeros(3).reshape(2)


def jax_bug(pattern: str = "*") -> None:
    import jax.numpy as jnp

    jnp.squeeze(jnp.zeros(3), axis=0)


@pytest.mark.parametrize("bug", [numpy_bug, jax_bug])
def test_a_bug_keeps_its_traceback(bug, monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "list", bug)
    with pytest.raises(ValueError, match="size"):
        cli.main(["list"])


def test_ctrl_c_is_one_line_that_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "make_train_step", lambda loss: interrupted)
    code, out, err = call(capsys, "train", "mlp", "--out", tmp_path / "run")
    line = f"zoo: interrupted: `zoo resume {tmp_path / 'run'}` continues the run\n"
    assert (code, out, err) == (130, "", line)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]
    monkeypatch.setattr(loop, "prepare", interrupted)
    assert call(capsys, "train", "mlp", "--out", tmp_path / "other") == (130, "", "zoo: interrupted\n")
    assert not (tmp_path / "other").exists()


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "zoo", "train", "lenet6"]
    process = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith("zoo: ")
    assert process.stderr.count("\n") == 1


def test_stats_compares_every_normalisation_and_draws_it(tmp_path, capsys):
    config, run = TrainConfig("convnet_bn"), RunFolder(tmp_path / "run")
    splits, state = loop.prepare(config)
    run.start(RunRecord(config, splits.train.preprocessing, splits.train.num_classes))
    zoo.save(run.weights_path, state.variables, name=config.model)
    code, out, _ = call(capsys, "stats", run.folder)
    assert code == 0
    assert "64 test images against the running statistics" in out
    assert re.findall(r"^bn\d_\d", out, re.MULTILINE) == ["bn1_0", "bn1_1", "bn2_0", "bn2_1"]
    assert f"plot: {run.statistics_path}" in out
    assert run.statistics_path.read_bytes().startswith(b"\x89PNG")


def test_stats_of_a_net_without_normalisation_is_one_line(run, capsys):
    code, out, err = call(capsys, "stats", run)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no batch normalisation" in err


def test_a_phone_picture_is_turned_upright_for_runs_and_for_models(run, tmp_path, capsys):
    """A stored picture with an EXIF orientation is predicted as its upright copy is."""
    digit = data.load("digits").test.images[3, ..., 0]
    exif = Image.Exif()
    exif[274] = 3  # upside down
    Image.fromarray(digit).save(tmp_path / "upright.png")
    Image.fromarray(np.ascontiguousarray(digit[::-1, ::-1])).save(tmp_path / "phone.png", exif=exif)
    init = jax.jit(partial(zoo.create("mlp").init, train=False))
    variables, weights = init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))), tmp_path / "mlp.safetensors"
    zoo.save(weights, variables, name="mlp", metadata={"preprocessing": '{"size": 32}'})
    for words in ((run,), ("mlp", "--weights", weights)):
        code, out, _ = call(capsys, "predict", words[0], tmp_path / "upright.png", tmp_path / "phone.png", *words[1:])
        upright, phone = (re.split(r" {3,}", line.strip())[1:] for line in out.splitlines()[-3:-1])
        assert code == 0
        assert upright == phone


def test_a_run_on_its_caller_s_own_images_is_one_line(tmp_path, capsys):
    test = data.load("digits").test
    splits = data.make_splits(test.images, test.labels, test.images, test.labels)
    zoo.fit(TrainConfig("mlp", epochs=1), tmp_path / "run", splits=splits)
    code, out, err = call(capsys, "eval", tmp_path / "run")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "images that its caller passed: test it in Python" in err


def test_every_remedy_of_the_command_line_is_for_an_error_that_exists():
    source = "".join(path.read_text() for path in Path(zoo.__file__).parent.rglob("*.py"))
    raised = set(re.findall(r'code="([a-z-]+)"', source))
    assert set(cli.REMEDIES) == raised
