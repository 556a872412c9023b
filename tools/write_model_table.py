"""The tables of models, of the registry's rows: those of the site and of the README, and that of `zoo list`.

    python -m tools.write_model_table                       writes docs/models.md, README.md and zoo/cli/models.json
    python -m tools.write_model_table --measure [GLOB ...]  measures first: the fixtures' nets, and with the [parity]
                                                            extra all others that the installed library has

Distances are the largest relative ones, in float64, of everything that a proof compares. ¹ marks a reference that
departs from the row by fields of the net, which the proof sets; ² one that is put together from the library's layers
and blocks.
"""

import argparse
import json
from pathlib import Path

import jax

import zoo
from tests.support import references
from tests.support.proof import Distance, Subject
from tests.support.proof_table import PROOFS
from tests.support.references import REFERENCES
from zoo.cli.models import ROWS

MEASURED = Path(__file__).parent / "measured.json"
ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- models: python -m tools.write_model_table -->", "<!-- /models -->"
MARKS = {"fields": "¹", "composed": "²"}
KINDS = {"logits": ("logits", "training"), "gradients": ("gradient",), "statistics": ("running",)}


def measure(name: str) -> dict | None:
    """What the tests measure for the model: from its fixture, or from the installed reference; None without."""
    for proof in PROOFS:
        if proof.name == name:
            with jax.enable_x64(True):
                subject = Subject.of(proof)
                part = "eval_small" if "eval_small" in subject.record.figures else "eval"
                found = _largest(proof.source, [*subject.evaluation(part), *subject.training()])
            return found | ({"fields": sorted(proof.fields)} if proof.fields else {})
    if name not in REFERENCES:
        return None
    reference = REFERENCES[name]
    found = _largest(reference.source, references.compare(name))
    return found | ({"composed": True} if reference.composed else {})


def _largest(source: str, distances: list[Distance]) -> dict:
    found: dict = {"source": source}
    for kind, words in KINDS.items():
        values = [d.value for d in distances if any(word in d.quantity for word in words) and d.tolerance]
        if values:
            found[kind] = float(f"{max(values):.1e}")
    return found


def table() -> str:
    """The Markdown table, one line a model."""
    measured = json.loads(MEASURED.read_text())
    lines = [
        "| model | paper | parameters | multiply-adds | input | proved against | logits | gradients | statistics |",
        "|---|---|---:|---:|---:|---|---:|---:|---:|",
    ]
    for name in zoo.list_models():
        row, found = zoo.variant(name), measured[name]
        against = found["source"] + "".join(f" {mark}" for field, mark in MARKS.items() if field in found)
        distances = [f"{found[kind]:.0e}" if kind in found else "" for kind in KINDS]
        cells = [f"`{name}`", row.paper, f"{row.params:,}", _scaled(row.macs), str(row.image_size), against, *distances]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def short_table() -> str:
    """One line a paper: its models, and which libraries' nets are held against them."""
    measured = json.loads(MEASURED.read_text())
    papers: dict[str, list[str]] = {}
    for name in zoo.list_models():
        papers.setdefault(zoo.variant(name).paper, []).append(name)
    lines = ["| paper | models | proved against |", "|---|---|---|"]
    for paper, names in papers.items():
        sources = sorted({measured[name]["source"].partition("/")[0] for name in names})
        lines.append(f"| {paper} | {', '.join(f'`{name}`' for name in names)} | {', '.join(sources)} |")
    return "\n".join(lines)


def _scaled(macs: int) -> str:
    return f"{macs / 1e9:.2f} G" if macs >= 1e9 else f"{macs / 1e6:.1f} M"


def files() -> dict[Path, str]:
    """The files with the tables as they should be."""
    tables = {ROOT / "docs" / "models.md": table(), ROOT / "README.md": short_table()}
    return {path: _replace_table(path.read_text(encoding="utf-8"), text) for path, text in tables.items()} | {
        ROWS: rows()
    }


def _replace_table(page: str, text: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def rows() -> str:
    """The file that `zoo list` reads, one line a model."""
    lines = []
    for name in zoo.list_models():
        row = zoo.variant(name)
        size = row.image_size, row.image_size, row.channels
        facts = {"params": row.params, "macs": row.macs, "input": size, "paper": row.paper}
        lines.append(f"{json.dumps(name)}: {json.dumps(facts, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs="*", metavar="GLOB")
    globs = parser.parse_args().measure
    names = [] if globs is None else [name for glob in globs or ["*"] for name in zoo.list_models(glob)]
    jax.config.update("jax_default_matmul_precision", "highest")
    for name in names:
        found = measure(name)
        print(name, found, flush=True)
        if found:
            measured = json.loads(MEASURED.read_text()) | {name: found}
            MEASURED.write_text(json.dumps(dict(sorted(measured.items())), indent=1) + "\n")
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
