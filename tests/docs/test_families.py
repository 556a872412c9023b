"""The pages per family: they say what the registry and the proofs say, and their code runs."""

from pathlib import Path

import families
import jax
import jax.numpy as jnp
import pytest
from family_pages import words
from family_pages.table import FAMILIES, Family

import zoo

QUICK = ("lenet", "alexnet", "vgg", "resnet", "resnext")  # to trace; `make docs` writes all pages


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.slug in QUICK], ids=lambda family: family.slug)
def test_page_names_all_variants_and_its_code_is_python(family: Family):
    text = families.page(family)
    assert all(text.count(f"`{name}`") >= 3 for name in family.names)  # variants, departures, proofs
    assert "{raw} html" in text
    assert "NaN" not in text
    compile(code_of(text), family.slug, "exec")


def test_families_have_all_variants_once():
    assert sorted(name for family in FAMILIES for name in family.names) == sorted(zoo.list_models())


@pytest.mark.slow  # compiles operation by operation, as a reader's first lines do
@pytest.mark.parametrize("name", ["lenet5", "convnet_bn"])
def test_code_that_goes_through_a_state_dict_runs(name: str):
    names: dict = {}
    exec(code_of(words.loading(name)), names)
    assert names["logits"].shape == (1, 10)


def test_code_that_loads_published_weights_runs(monkeypatch: pytest.MonkeyPatch):
    def pretrained(name: str):
        model = zoo.create(name)
        return model, model.init(jax.random.key(0), jnp.zeros((1, 224, 224, 3)), train=False)

    monkeypatch.setattr(zoo, "pretrained", pretrained)
    names: dict = {}

    def run():
        exec(code_of(words.loading("resnet18")), names)
        return names["logits"], names["ends"]

    logits, ends = jax.eval_shape(run)
    assert logits.shape == (1, 1000)
    assert {name: end.shape for name, end in ends.items()} == {"layer4": (1, 7, 7, 512), "features": (1, 512)}


def test_pages_are_written_anew_only_where_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(families, "FAMILIES", FAMILIES[:2])
    stale = tmp_path / "stale.md"
    stale.touch()
    families.write_pages(tmp_path)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["convnet", "index", "lenet"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    (tmp_path / "lenet.md").write_text("other")
    families.write_pages(tmp_path)
    assert [path.stem for path in tmp_path.iterdir() if path.stat().st_mtime_ns != before[path]] == ["lenet"]


def code_of(page: str) -> str:
    return page.partition("```python\n")[2].partition("```")[0]
