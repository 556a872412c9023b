"""The command line: what it prints, and that a wrong request is one line and exit code 2."""

import inspect
import json
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import zoo
from tests.support.nets import draw_variables
from zoo import data, plots
from zoo.cli import main as cli
from zoo.cli import runs
from zoo.cli.models import ROWS
from zoo.cli.progress import ProgressDisplay
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


def test_too_little_memory_is_one_line(run, tmp_path, monkeypatch, capsys):
    def run_out(*_, **__):
        raise MemoryError("Unable to allocate 3.55 PiB for an array")

    monkeypatch.setattr("zoo.cli.looking.predict_pictures", run_out)
    Image.new("L", (8, 8)).save(tmp_path / "7.png")
    code, _, err = call(capsys, "predict", run, tmp_path / "7.png")
    assert (code, err) == (2, "zoo: the memory is too small: Unable to allocate 3.55 PiB for an array.\n")


def test_a_plot_that_fails_is_one_line_and_the_run_is_finished(tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise RuntimeError("no\nroom")

    monkeypatch.setattr(plots, "plot_curves", fail)
    code, out, err = call(capsys, "train", "mlp", "--epochs", 1, "--batch-size", 128, "--out", tmp_path)
    assert code == 0
    assert err.splitlines()[-1] == f"zoo: {tmp_path / 'curves.png'} was not drawn: RuntimeError: no room"
    assert "curves" not in out
    assert RunFolder(tmp_path).weights_path.exists()


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
    expected = [f"{100 * shares[label]:.1f} %  {label}" for label in order[:5]]
    assert code == 0
    assert [line.strip() for line in out.splitlines()] == [str(tmp_path / "digit.png"), *expected]
    _, out, _ = call(capsys, "predict", run, tmp_path / "ink.png", "--invert")
    assert out.splitlines()[1].endswith(f"%  {order[0]}")


def test_list_and_show_print_the_published_figures(capsys):
    code, out, _ = call(capsys, "list", "resnet?[0]")
    assert code == 0
    assert re.search(r"resnet20 +269,722 +40,551,040 +32x32x3 +He et al. 2015 +1512.03385 *$", out, re.MULTILINE)
    assert "lenet" not in out
    code, out, _ = call(capsys, "show", "lenet5")
    assert code == 0
    assert re.search(r"c3 +10x10x16 +1,516 +150,000 +PartialConv", out)
    assert re.search(r"total +60,850 +326,520", out)
    assert re.search(r"s4 +5x5x16 *\n", out)
    assert re.search(r"c1 +12x12x6 .* Conv", call(capsys, "show", "lenet5", "--image-size", 16)[1])


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main([command, "--help"])
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: zoo {command}" in out
    assert "STR..." not in out


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_the_help_has_an_aligned_line_a_command_which_is_the_first_of_its_own(word, capsys):
    code, out, err = call(capsys, word)
    assert (code, err) == (0, "")
    lines = [line for line in out.splitlines() if line.startswith("  ")]
    assert [line.split()[0] for line in lines] == list(cli.COMMANDS)
    width = max(map(len, cli.COMMANDS)) + 4
    for line, place in zip(lines, cli.COMMANDS.values(), strict=True):
        assert line[width:] == inspect.getdoc(pkgutil.resolve_name(place)).splitlines()[0]
        assert line[width - 2 : width] == "  "
    assert all(len(line) <= 80 for line in lines)
    assert out.startswith("usage: zoo ")


def test_list_shows_the_registry_as_it_is():
    rows = json.loads(ROWS.read_text(encoding="utf-8"))
    assert list(rows) == zoo.list_models(), "write them: python -m tools.write_model_table"
    for name, row in rows.items():
        published = zoo.variant(name)
        figures = {"params": published.params, "macs": published.macs, "paper": published.paper}
        size = [published.image_size, published.image_size, published.channels]
        assert row == {**figures, "input": size}, "write them: python -m tools.write_model_table"


@pytest.mark.parametrize("pattern", ["res*", "*", "resnet?[02]", "RES*", "vgg1[!1]*", "lenet5", ""])
def test_list_takes_the_patterns_of_the_library(pattern, capsys):
    names = [line.split()[0] for line in call(capsys, "list", pattern)[1].splitlines()[2:]]
    assert names == zoo.list_models(pattern)


WRONG = {
    "unknown model": (["train", "lenet6"], "'lenet5'? `zoo list` shows all models."),
    "unknown data": (["train", "mlp", "--data", "digit"], "did you mean 'digits'?"),
    "missing data folder": (["train", "mlp", "--data", "idx:nowhere"], "nowhere'"),
    "folder without data": (["train", "mlp", "--data", "idx:empty"], "no train-images-idx3-ubyte"),
    "truncated data": (["train", "mlp", "--data", "idx:cut"], "its header promises"),
    "batch size 0": (["train", "mlp", "--batch-size", "0"], "--batch-size is 0"),
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
    "no such models": (["list", "z*"], "no model matches 'z*'"),
    "unknown model to show": (["show", "resnet21"], "'resnet20'? `zoo list`"),
    "too small to show": (["show", "lenet5", "--image-size", "8"], "at least 16x16"),
    "no size to show": (["show", "lenet5", "--image-size", "0"], "--image-size is 0"),
    "unknown command": (["trian"], "no command is called 'trian': did you mean 'train'? `zoo --help` shows all"),
    "nothing like a command": (["xyzzy"], "no command is called 'xyzzy': `zoo --help` shows all"),
    "unknown option instead": (["--hepl"], "no command is called '--hepl': did you mean '--help'?"),
    "no command": ([], "no command given: `zoo --help` shows all commands."),
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
    assert not re.search(r"zoo\.[a-z]|\(\)|[a-z]_[a-z]+ is", err), "words of Python"
    assert sorted(tmp_path.rglob("*")) == before


def test_the_version_is_that_of_the_package(capsys):
    assert call(capsys, "--version") == (0, f"zoo {zoo.__version__}\n", "")


def write_idx(folder, images, labels):
    folder.mkdir()
    for prefix in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
            (folder / f"{prefix}-{kind}-ubyte").write_bytes(header + array.tobytes())


def test_relative_data_are_found_from_another_folder(tmp_path, monkeypatch, capsys):
    random = np.random.default_rng(0)
    write_idx(tmp_path / "data", random.integers(0, 256, (32, 8, 8), np.uint8), np.arange(32, dtype=np.uint8) % 4)
    monkeypatch.chdir(tmp_path)
    assert call(capsys, "train", "mlp", "--data", "idx:data", "--epochs", 1, "--out", "run")[0] == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert call(capsys, "eval", "../run")[0] == 0
    assert RunFolder("../run").read().config.data == f"idx:{tmp_path / 'data'}"


def test_a_model_s_name_is_the_model_unless_a_run_lies_there(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (8, 8)).save("grey.png")
    Path("resnet20").mkdir()
    assert "resnet20 has no published weights" in call(capsys, "predict", "resnet20", "grey.png")[2]
    for path in run.iterdir():
        Path("resnet20", path.name).write_bytes(path.read_bytes())
    code, out, err = call(capsys, "predict", "resnet20", "grey.png")
    assert (code, out) == (2, "")
    assert "./resnet20 is the run, resnet20 --weights FILE is the model" in err
    assert call(capsys, "predict", "./resnet20", "grey.png")[0] == 0
    assert "no file of weights at F" in call(capsys, "predict", "resnet20", "grey.png", "--weights", "F")[2]


def test_a_digit_drawn_on_paper_is_prepared_as_those_of_the_run(run, tmp_path, capsys):
    path = tmp_path / "paper.png"
    paper = Image.new("L", (300, 300), "white")
    paper.paste(Image.fromarray(255 - data.load("digits").test.images[3, ..., 0]).resize((100, 120)), (40, 150))
    paper.save(path)
    data.prepare_digit(path, 8).save(tmp_path / "prepared.png")
    prepared, drawn = (
        call(capsys, "predict", run, *words)[1].splitlines()[1:]
        for words in ((tmp_path / "prepared.png",), (path, "--digit"))
    )
    assert prepared == drawn
    assert len(drawn) == 5
    Image.new("L", (9, 9)).save(path)
    code, out, err = call(capsys, "predict", run, path, "--digit")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert str(path) in err


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
    variables = draw_variables(model, (32, 32, 3))
    zoo.save("ours.safetensors", variables, name="resnet20")
    theirs, picture, names = Path("theirs.safetensors"), Path("grey.png"), Path("names.txt")
    Image.new("RGB", (40, 50), "grey").save(picture)
    names.write_text("\n".join(f"class {i}" for i in range(10)))
    convert = ("convert", "resnet20", "ours.safetensors", theirs, "--layout", "torchvision")
    assert call(capsys, *convert, "--preprocessing", '{"size": 32}')[0] == 0
    assert "269,722 parameters" in call(capsys, "verify", "resnet20", theirs)[1]
    code, out, _ = call(capsys, "predict", "resnet20", picture, "--weights", theirs, "--labels", names)
    assert code == 0
    assert re.search(r"grey.png\n +\d+\.\d %  class \d\n", out)
    code, out, err = call(capsys, "verify", "resnet32", theirs)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "resnet20" in err
    assert call(capsys, "predict", "resnet20", picture, "--weights", theirs, "--invert")[0] == 2


@pytest.mark.parametrize(("words", "name"), [((), "Egyptian cat"), (("--weights", "ours.safetensors"), "285")])
def test_published_weights_answer_in_imagenet_s_names_without_being_asked(tmp_path, monkeypatch, capsys, words, name):
    """With a stand-in for the net, which sees one class in everything."""

    class Net:
        num_classes = 1000

        def apply(self, variables, images, *, train):
            return jnp.zeros((len(images), 1000)).at[:, 285].set(9.0)

    Image.effect_noise((40, 50), 50).save(tmp_path / "cat.png")
    monkeypatch.setattr("zoo.weights.pretrained", lambda *source: (Net(), {}))
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(capsys, "predict", "resnet50", "cat.png", *words, "--preprocessing", "torchvision")
    assert code == 0
    assert re.search(rf"cat\.png\n +\d+\.\d %  {name}\n", out)


def test_weights_for_other_classes_are_verified_converted_and_put_to_work_without_being_told(tmp_path, capsys):
    model, ours, theirs = zoo.create("lenet5", num_classes=4), tmp_path / "ours.safetensors", tmp_path / "t.safetensors"
    variables = draw_variables(model, (32, 32, 1))
    zoo.save(ours, variables, name="lenet5", model=model)
    grey = '{"size": 32, "mean": [0.5], "std": [0.5]}'
    words = ("lenet5", ours, theirs, "--layout", "torchvision", "--preprocessing", grey)
    assert call(capsys, "convert", *words)[0] == 0
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    for path in (ours, theirs):
        code, out, _ = call(capsys, "verify", "lenet5", path)
        assert code == 0
        assert "with 4 classes" in out
        assert f"{parameters:,} parameters" in out
    Image.new("RGB", (40, 50), "grey").save(tmp_path / "grey.png")
    code, out, _ = call(capsys, "predict", "lenet5", tmp_path / "grey.png", "--weights", theirs)
    assert code == 0
    assert sorted(line.split()[-1] for line in out.splitlines()[1:]) == ["0", "1", "2", "3"]


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
    assert "no checkpoint yet: `zoo resume" in call(capsys, "eval", tmp_path)[2]


def numpy_bug(pattern: str = "*") -> None:
    np.zeros(3).reshape(2)


def jax_bug(pattern: str = "*") -> None:
    import jax.numpy as jnp

    jnp.squeeze(jnp.zeros(3), axis=0)


@pytest.mark.parametrize("bug", [numpy_bug, jax_bug])
def test_a_bug_keeps_its_traceback(bug, monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "list", f"{__name__}:{bug.__name__}")
    with pytest.raises(ValueError, match="size"):
        cli.main(["list"])


def test_ctrl_c_is_one_line_that_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    folder = tmp_path / "a run's folder"
    with monkeypatch.context() as patch:
        patch.setattr(ProgressDisplay, "show_step", interrupted)
        code, out, err = call(capsys, "train", "mlp", "--epochs", 2, "--batch-size", 128, "--out", folder)
        assert (code, out) == (130, "")
        told = re.fullmatch("zoo: interrupted: `(.+)` continues the run\n", err)[1]
        assert shlex.split(told) == ["zoo", "resume", str(folder)]
        patch.setattr(runs.training, "fit", interrupted)
        assert call(capsys, "train", "mlp", "--out", tmp_path / "other") == (130, "", "zoo: interrupted\n")
        assert not (tmp_path / "other").exists()
    Image.fromarray(np.full((8, 8), 9, np.uint8)).save(tmp_path / "grey.png")
    for words in (["eval", folder], ["predict", folder, tmp_path / "grey.png"]):
        code, out, err = call(capsys, *words)
        assert code == 0
        assert "%" in out
        assert err == f"zoo: {folder} is not finished: this is its last checkpoint, after 0 whole epochs of 2\n"
    code, out, err = call(capsys, *shlex.split(told)[1:])
    assert code == 0
    assert re.findall(r"^epoch \d/2", err, re.MULTILINE) == ["epoch 1/2", "epoch 2/2"]


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "zoo", "train", "lenet6"]
    process = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith("zoo: ")
    assert process.stderr.count("\n") == 1


def test_stats_compares_every_normalisation_and_draws_it(tmp_path, capsys):
    config, run = TrainConfig("convnet_bn"), RunFolder(tmp_path / "run")
    splits, state, _ = loop.prepare(config)
    run.folder.mkdir()
    run.start(RunRecord(config, splits.train.preprocessing, splits.train.num_classes))
    zoo.save(run.weights_path, state.variables, name=config.model)
    code, out, _ = call(capsys, "stats", run.folder)
    assert code == 0
    assert "64 test images against the running statistics" in out
    assert re.findall(r"^bn\d_\d", out, re.MULTILINE) == ["bn1_0", "bn1_1", "bn2_0", "bn2_1"]
    assert f"plot: {run.statistics_path}" in out
    assert run.statistics_path.read_bytes().startswith(b"\x89PNG")
    run.statistics_path.unlink()
    run.statistics_path.mkdir()
    code, out, err = call(capsys, "stats", run.folder)
    assert (code, err.count("\n")) == (0, 1)
    assert "bn2_1" in out
    assert err.startswith(f"zoo: {run.statistics_path} was not drawn: ")


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
    variables, weights = draw_variables(zoo.create("mlp"), (32, 32, 3)), tmp_path / "mlp.safetensors"
    zoo.save(weights, variables, name="mlp", metadata={"preprocessing": '{"size": 32}'})
    for words in ((run,), ("mlp", "--weights", weights)):
        code, out, _ = call(capsys, "predict", words[0], tmp_path / "upright.png", tmp_path / "phone.png", *words[1:])
        upright, phone = (block.splitlines()[1:] for block in re.split(r"^(?=/)", out, flags=re.MULTILINE)[1:])
        assert code == 0
        assert upright == phone
        assert len(upright) == 5


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
