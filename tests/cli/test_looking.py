"""`zoo eval`, `predict`, `explain` and `validate` on folders of pictures: names everywhere, and pictures beside."""

import csv
import io
import json
import re
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

import zoo
from tests.support.nets import draw_variables
from zoo import data, plots
from zoo.cli import looking
from zoo.cli import main as cli
from zoo.errors import UserError
from zoo.training import RunFolder, RunRecord, TrainConfig, loop

NAMES = ("null", "one", "two", "three")


def call(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of the test images of four digits, in folders of their names."""
    folder, test = tmp_path_factory.mktemp("pictures"), data.load("digits").test
    for name in NAMES:
        (folder / name).mkdir()
    for row in np.flatnonzero(test.labels < len(NAMES))[:60]:
        Image.fromarray(test.images[row, ..., 0]).save(folder / NAMES[test.labels[row]] / f"{row}.png")
    return folder


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    """A run of those pictures in small, that has learnt nothing: random weights."""
    config, folder = (
        TrainConfig("convnet_bn", data=f"folder:{pictures}", image_size=8),
        RunFolder(tmp_path_factory.mktemp("runs") / "run"),
    )
    splits, state, _ = loop.prepare(config)
    folder.folder.mkdir()
    names = splits.train.class_names
    folder.start(RunRecord(config, splits.train.preprocessing, splits.train.num_classes, class_names=names))
    zoo.save(
        folder.weights_path,
        state.variables,
        name=config.model,
        model=zoo.create(config.model, num_classes=len(NAMES)),
    )
    return folder


def find_test_logits(run):
    trained = run.restore()
    test = replace(loop.prepare(trained.record.config).splits.test, preprocessing=trained.record.preprocessing)
    (batch,) = data.batches(test, len(test), seed=0, epoch=0, shuffle=False)
    return test, np.asarray(trained.model.apply(trained.state.variables, batch["image"], train=False))


def test_eval_names_the_classes_and_draws_the_confusion_and_the_mistakes(run, capsys):
    test, logits = find_test_logits(run)
    code, out, _ = call(capsys, "eval", run.folder)
    assert code == 0
    names = sorted(NAMES)
    confusion = confusion_matrix(test.labels, logits.argmax(-1), labels=range(4))
    shown = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert re.search(rf"running +\S+ +{100 * np.trace(confusion) / len(test):.2f}%", out)
    for number, name in enumerate(names):
        line = shown[name]
        right = confusion[number, number] / confusion[number].sum()
        assert re.match(rf"{name} +{confusion[number].sum()} +{100 * right:.2f}% +\d+\.\d\d%", line)
        columns = dict(zip(names, confusion[number], strict=True))
        heading = next(line for line in out.splitlines() if line.startswith("class"))
        for column, count in columns.items():
            end = heading.index(f" {column}") + 1 + len(column)
            assert (line[:end].split()[-1] == str(count)) if count else line[end - 1 : end] in (" ", "")
    for what, path in (("confusion matrix", run.confusion_path), ("mistakes", run.mistakes_path)):
        assert f"{what}: {path}" in out
        assert path.read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_eval_that_fails_is_one_line_and_the_figures_are_there(run, monkeypatch, capsys):
    def fail(*_, **__):
        raise RuntimeError("no room")

    monkeypatch.setattr(plots, "plot_mistakes", fail)
    code, out, err = call(capsys, "eval", run.folder, "--statistics", "batch")
    assert (code, err) == (0, f"zoo: {run.mistakes_path} was not drawn: no room\n")
    assert "confusion matrix: " in out
    assert re.search(r"^one +\d+ +\d+\.\d\d%", out, re.MULTILINE)


def test_mistakes_of_another_test_do_not_stay_and_without_matplotlib_that_is_one_line(run, monkeypatch, capsys):
    run.mistakes_path.write_text("old")
    monkeypatch.setattr("zoo.cli.runs.find_spec", lambda name: None)
    code, out, err = call(capsys, "eval", run.folder, "--statistics", "running")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("no plot: matplotlib is missing")
    assert not run.mistakes_path.exists()


def test_a_folder_whose_classes_have_other_names_now_is_one_line(run, pictures, capsys):
    (pictures / "two").rename(pictures / "zwei")
    code, out, err = call(capsys, "eval", run.folder)
    (pictures / "zwei").rename(pictures / "two")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "has other classes now than when the net was trained: two, zwei: give its folders their names back" in err


def test_of_many_classes_the_worst_are_listed(monkeypatch, run, capsys):
    monkeypatch.setattr("zoo.cli.runs.FEW", 1)
    monkeypatch.setattr("zoo.cli.runs.MANY", 2)
    test, logits = find_test_logits(run)
    confusion = confusion_matrix(test.labels, logits.argmax(-1), labels=range(4))
    worst = np.argsort(np.diag(confusion) / confusion.sum(1), kind="stable")[:2]
    code, out, _ = call(capsys, "eval", run.folder)
    assert code == 0
    assert "accuracy of the 2 worst classes of 4, with running statistics:" in out
    listed = [line.split()[0] for line in out.splitlines() if line.split()[:1] and line.split()[0] in NAMES]
    assert listed == [sorted(NAMES)[number] for number in worst]


def test_predict_goes_through_folders_and_answers_in_the_run_s_names(run, pictures, capsys):
    (pictures / "one" / ".hidden.png").write_bytes(b"")
    paths = sorted((pictures / "one").glob("[!.]*.png"), key=lambda path: path.name)
    alone = sorted((pictures / "two").glob("*.png"))[0]
    code, out, _ = call(capsys, "predict", run.folder, pictures / "one", alone)
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("/")] == [str(path) for path in [*paths, alone]]
    assert set(re.findall(r"%  (\w+)", out)) == set(NAMES)
    code, text, _ = call(capsys, "predict", run.folder, pictures / "one", alone, "--json")
    answers = json.loads(text)
    assert [answer["picture"] for answer in answers] == [str(path) for path in [*paths, alone]]
    shown = [f"{100 * one['probability']:.1f} %  {one['class']}" for answer in answers for one in answer["classes"]]
    assert [line.strip() for line in out.splitlines() if not line.startswith("/")] == shown
    code, text, _ = call(capsys, "predict", run.folder, pictures / "one", alone, "--csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["rank"] for row in rows[:5]] == ["1", "2", "3", "4", "1"]
    assert [f"{100 * float(row['probability']):.1f} %  {row['class']}" for row in rows] == shown


def test_names_of_files_reach_other_programs_as_they_are(run, tmp_path, capsys):
    path = tmp_path / 'a  "b", [red] é.png'
    Image.new("L", (8, 8)).save(path)
    _, text, _ = call(capsys, "predict", run.folder, path, "--json")
    assert json.loads(text)[0]["picture"] == str(path)
    _, text, _ = call(capsys, "predict", run.folder, path, "--csv")
    assert next(csv.DictReader(io.StringIO(text)))["picture"] == str(path)


def test_explain_draws_the_top_classes_at_an_endpoint_and_names_them(run, pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    picture, drawn = sorted((pictures / "two").glob("*.png"))[0], []
    plot = plots.plot_explanation
    monkeypatch.setattr(plots, "plot_explanation", lambda *args, **kwargs: drawn.append(args) or plot(*args, **kwargs))
    code, out, _ = call(capsys, "explain", run.folder, picture)
    assert code == 0
    assert f"picture: {picture.stem}_explained.png" in out
    assert (tmp_path / f"{picture.stem}_explained.png").read_bytes().startswith(b"\x89PNG")
    predicted = call(capsys, "predict", run.folder, picture)[1].splitlines()
    assert [line.split() for line in out.splitlines()[:4]] == [line.split() for line in predicted[:4]]
    pixels, maps, filters = drawn[0]
    trained = run.restore()
    image = data.prepare_picture(picture, trained.record.preprocessing)[None]
    best = np.argsort(-trained.model.apply(trained.state.variables, image, train=False)[0])
    assert [name.split(",")[0] for name in maps] == [sorted(NAMES)[number] for number in best[:3]]
    for number, map_ in zip(best, maps.values(), strict=False):
        (expected,) = zoo.explain.grad_cam(trained.model, trained.state.variables, image, "stage2", number[None])
        np.testing.assert_allclose(map_, expected, rtol=1e-4, atol=1e-6)
    assert pixels.shape == (8, 8, 3)
    assert filters.shape[1:] == (3, 3, 3)
    assert call(capsys, "explain", run.folder, picture, "--endpoint", "stage1", "--out", "o.png")[0] == 0
    assert next(iter(drawn[1][1].values())).shape == (4, 4)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of a net for ten classes, and what it takes."""
    model, path = zoo.create("resnet20"), tmp_path_factory.mktemp("weights") / "w.safetensors"
    variables, metadata = draw_variables(model, (32, 32, 3)), {"preprocessing": '{"size": 32, "crop": null}'}
    zoo.save(path, variables, name="resnet20", metadata=metadata)
    return path


def test_validate_prints_the_shares_of_scikit_learn_of_all_pictures_of_a_folder(weights, tmp_path, capsys):
    answers = tmp_path.with_suffix(".safetensors")
    random = np.random.default_rng(0)
    for number in range(10):
        (tmp_path / str(number)).mkdir()
        for i in range(3):
            Image.fromarray(random.integers(0, 256, (40, 30, 3), np.uint8)).save(tmp_path / str(number) / f"{i}.png")
    words = ("validate", "resnet20", "--data", f"folder:{tmp_path}", "--weights", weights)
    code, out, _ = call(capsys, *words)
    assert code == 0
    for _ in range(2):
        assert call(capsys, *words, "--answers", answers)[:2] == (0, out), "answered now, or read from the file"
    _, text, _ = call(capsys, "predict", "resnet20", tmp_path, "--weights", weights, "--json")
    said = [[one["class"] for one in answer["classes"]] for answer in json.loads(text)]
    right = [path.split("/")[-2] for path in (answer["picture"] for answer in json.loads(text))]
    top1, top5 = (np.mean([r in s[:k] for r, s in zip(right, said, strict=True)]) for k in (1, 5))
    assert re.search(rf"measured +{100 * top1:.2f} % +{100 * top5:.2f} % +30 *$", out, re.MULTILINE)
    assert "published" not in out, "the row has no published weights"


class Cat:
    """A net that sees the Egyptian cat in everything."""

    num_classes = 1000

    def apply(self, variables, images, *, train):
        return jnp.zeros((len(images), 1000)).at[:, 285].set(9.0)


def test_published_figures_stand_beside_those_of_some_of_the_classes_by_name(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("zoo.weights.pretrained", lambda *source: (Cat(), {}))
    picture = next((pictures / "two").glob("*.png")).read_bytes()
    for name, count in (("Egyptian cat", 3), ("zebra", 1)):
        (tmp_path / name).mkdir()
        for i in range(count):
            (tmp_path / name / f"{i}.png").write_bytes(picture)
    code, out, _ = call(capsys, "validate", "resnet50", "--data", f"folder:{tmp_path}")
    assert code == 0
    assert re.search(r"measured +75\.00 % +75\.00 % +4 *\n *published +76\.13 % +92\.86 % +50,000", out)
    code, out, err = call(capsys, "validate", "resnet50", "--data", f"folder:{pictures}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "4 classes, null among them, and the net 1000: name the folders as the net's classes" in err


WRONG = {
    "no pictures in the folder": ("predict RUN EMPTY", "holds no pictures: name a folder with .jpg"),
    "two formats": ("predict RUN PICTURE --json --csv", "leave out --json or --csv"),
    "no such endpoint": ("explain RUN PICTURE --endpoint stage3", "no map 'stage3': it has stage1, stage2."),
    "no picture": ("explain RUN nothing.png", "no picture at nothing.png"),
    "no data": ("validate resnet50", "nothing to test on: name the pictures: --data folder:FOLDER."),
    "no folder": ("validate resnet50 --data folder:nowhere", "no folder 'nowhere'"),
    "no batch": ("validate resnet50 --data folder:EMPTY --batch-size 0", "--batch-size is 0: it must be at least 1."),
    "colours of grey images": (
        "validate resnet20 --data digits --weights WEIGHTS",
        "images must be [N, h, w, 3] bytes",
    ),
    "no weights": (
        "validate resnet20 --data digits",
        "resnet20 has no published weights: choose a file with --weights",
    ),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_request_is_one_line_and_exit_code_2(
    words, message, run, pictures, weights, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    picture = next((pictures / "two").glob("*.png"))
    places = {"RUN": run.folder, "EMPTY": "empty", "PICTURE": picture, "WEIGHTS": weights}
    words = [re.sub("|".join(places), lambda found: str(places[found[0]]), word) for word in words.split()]
    code, out, err = call(capsys, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_net_without_maps_cannot_be_explained():
    with pytest.raises(UserError, match="mlp has no maps"):
        looking._choose_endpoint("mlp", None)
    assert looking._choose_endpoint("resnet50", None) == "layer4"
