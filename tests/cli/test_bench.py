"""`zoo bench`: the figures of its table by hand, its files, and that a wrong request is one line and exit code 2."""

import json
from dataclasses import replace

import pytest

from zoo import plots
from zoo.bench import PEERS, Result
from zoo.bench.machine import available_cores
from zoo.cli import bench
from zoo.cli import main as cli

ZOO = Result(seconds=[0.5, 0.4, 0.4, 0.4, 0.6], device="cpu", compile_seconds=12.34, memory=3 * 2**20)
TORCH = Result(seconds=[0.3, 0.3, 0.3, 0.3, 0.3], device="cpu", note="channels last")
FLAX = Result(failure="no answer within 600 s")


def call(capsys, *arguments):
    """Exit code, stdout, stderr."""
    code = cli.main(["bench", *map(str, arguments)])
    return code, *capsys.readouterr()


@pytest.fixture
def jobs(monkeypatch):
    """What is asked for, by model; the answers are ZOO, TORCH and FLAX."""
    asked, answers = {}, {"zoo": ZOO, "torch": TORCH, "flax": FLAX}

    def race(jobs, **options):
        asked[next(iter(jobs.values())).model] = jobs, options
        return {name: answers[name] for name in jobs}

    monkeypatch.setattr(bench, "race", race)
    everything = {name: replace(peer, packages=()) for name, peer in PEERS.items()}
    monkeypatch.setattr("zoo.bench.peers.PEERS", everything)
    return asked


def test_the_table_has_medians_spreads_and_ratios_and_names_who_failed(jobs, capsys):
    code, out, err = call(capsys, "resnet20", "--batch", 2, "--peers", "torch,flax", "--threads", 1)
    assert (code, err) == (0, "")
    head, _, *table = out.splitlines()
    assert head.startswith("training step, batch 2, float32, 1 thread; cpu, ")
    assert " jax " in head
    assert table[0].startswith("| model | library | images/s | time / zoo's | step [ms] | spread | compile [s] |")
    assert table[2:5] == [
        "| resnet20 | zoo | 5.00 | 1.00 | 400.00 | 25% | 12.3 | 3.0 | 2x32x32 |",
        "| resnet20 | flax | - | - | - | - | - | - | 2x32x32 |",
        "| resnet20 | torch | 6.67 | 0.75 | 300.00 | 0% | - | - | 2x32x32 |",
    ]
    assert table[-2:] == ["resnet20, flax: no answer within 600 s.", "resnet20, torch: channels last."]


def test_what_is_asked_for_reaches_the_contestants(jobs, capsys):
    options = ["--mode", "infer", "--dtype", "bfloat16", "--rounds", 7, "--patience", 9, "--peers", "torch"]
    call(capsys, "resnet20", "inception_v3", *options, "--threads", 1)
    (first, asked), (second, _) = jobs.values()
    assert asked["rounds"] == 7
    assert asked["patience"] == 9
    assert list(first) == list(second) == ["zoo", "torch"]
    assert first["torch"] == replace(first["zoo"], maker=PEERS["torch"].maker, keeps_memory=False)
    assert first["zoo"].keeps_memory
    zoo = first["zoo"]
    assert (zoo.model, zoo.mode, zoo.batch, zoo.size, zoo.dtype) == ("resnet20", "infer", 8, 32, "bfloat16")
    assert zoo.cores == tuple(available_cores()[:1])
    assert second["zoo"].size == 299


def test_an_accelerator_adds_the_share_of_its_matrix_rate(jobs, monkeypatch, capsys):
    result = replace(ZOO, work=2e12, matrix_rate=100e12)
    monkeypatch.setattr(bench, "race", lambda jobs, **_: {"zoo": result, "torch": TORCH})
    _, out, _ = call(capsys, "resnet20", "--peers", "torch", "--threads", 1)
    assert "| memory [MiB] | matrix rate | images |" in out
    assert "| 5% | 8x32x32 |" in out  # 2e12 in 0.4 s, of 100e12 a second
    assert "| 7% | 8x32x32 |" in out
    assert "Matrix rate: share of the 100.0 TFLOP/s of a product of large matrices." in out


def test_all_figures_are_in_the_file_after_each_model_even_if_the_next_is_interrupted(
    jobs, monkeypatch, tmp_path, capsys
):
    race, path = bench.race, tmp_path / "figures.json"

    def interrupted_later(asked, **options):
        saved = json.loads(path.read_text())
        assert list(saved["results"]) == list(jobs)
        if jobs:
            raise KeyboardInterrupt
        return race(asked, **options)

    monkeypatch.setattr(bench, "race", interrupted_later)
    code, out, err = call(capsys, "resnet20", "resnet32", "--peers", "torch", "--json", path)
    assert (code, err) == (130, "zoo: interrupted\n")
    assert "| resnet20 | torch |" in out
    saved = json.loads(path.read_text())
    assert saved["results"]["resnet20"]["torch"]["seconds"] == TORCH.seconds
    assert saved["settings"]["batch"] == 8
    assert saved["sizes"] == {"resnet20": 32, "resnet32": 32}
    assert saved["machine"]["versions"]["jax"]


def test_the_plot_has_the_speeds(jobs, monkeypatch, tmp_path, capsys):
    drawn, draw, path = [], plots.plot_benchmark, tmp_path / "bars.png"
    monkeypatch.setattr(plots, "plot_benchmark", lambda speeds, **o: drawn.append(speeds) or draw(speeds, **o))
    _, out, _ = call(capsys, "resnet20", "--peers", "torch,flax", "--plot", path, "--batch", 2)
    assert f"plot: {path}" in out
    assert path.read_bytes().startswith(b"\x89PNG")
    assert drawn == [{"resnet20": {"zoo": 5.0, "torch": pytest.approx(2 / 0.3)}}]


def test_peers_that_are_not_installed_are_one_line(jobs, monkeypatch, capsys):
    absent = dict.fromkeys(PEERS, replace(PEERS["keras"], packages=("no_such_package",)))
    monkeypatch.setattr(
        "zoo.bench.peers.PEERS", absent | {"zoo": PEERS["zoo"], "torch": replace(PEERS["torch"], packages=())}
    )
    code, out, err = call(capsys, "resnet20")
    assert code == 0
    assert err == "zoo: without flax, keras, torch-compile: `pip install 'jax-cnn-zoo[bench]'` brings all peers\n"
    assert "| resnet20 | torch |" in out
    code, _, err = call(capsys, "resnet20", "--peers", "keras")
    assert (code, err) == (
        2,
        "zoo: keras needs no_such_package, not installed here: `pip install 'jax-cnn-zoo[bench]'` brings all peers.\n",
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("resnet51", "no model is called 'resnet51': did you mean 'resnet50'? `zoo list` shows all models."),
        ("resnet20 --peers tensorflow", "no peer is called 'tensorflow': choose out of zoo, flax, keras, torch"),
        ("resnet20 --batch 0", "--batch is 0: it must be at least 1."),
        ("resnet20 --rounds 4", "--rounds is 4: it must be at least 5."),
        ("resnet20 --patience 0", "--patience is 0.0: it must be positive."),
        ("resnet20 --threads 0", "--threads is 0: it must be from 1 to "),
        ("resnet20 --threads 999", "--threads is 999: it must be from 1 to "),
        ("inception_v3 --size 74", "--size is 74: inception_v3 needs at least 75."),
        ("resnet20 --size 0", "--size is 0: resnet20 needs at least 1."),
        ("resnet20 --json no/such/folder/a.json", "no/such/folder"),
        ("resnet20 --plot no/such/folder/a.png", "no/such/folder"),
    ],
)
def test_a_wrong_request_is_one_line(words, complaint, jobs, capsys):
    code, out, err = call(capsys, *words.split())
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert complaint in err
    assert not jobs


def test_zoo_and_flax_compete(tmp_path, capsys):
    path = tmp_path / "figures.json"
    options = ["--batch", 2, "--peers", "flax", "--rounds", 5, "--threads", 1, "--json", path]
    code, out, _ = call(capsys, "lenet5", *options)
    assert code == 0
    results = json.loads(path.read_text())["results"]["lenet5"]
    assert list(results) == ["zoo", "flax"]
    for result in results.values():
        assert result["failure"] == ""
        assert len(result["seconds"]) == 5
        assert result["compile_seconds"] > 0
        assert result["memory"] > 0
    assert out.count("| lenet5 |") == 2
