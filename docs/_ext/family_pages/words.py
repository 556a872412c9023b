"""What a family's page says in words and tables, from the registry and from what the proofs measured."""

import json
import re
from collections.abc import Callable, Iterable

import zoo
from tools.write_model_table import MEASURED, table
from zoo.weights import layouts

HUB = "https://huggingface.co/"
HYPHEN = "\N{NON-BREAKING HYPHEN}"
NAMES = {"torchvision": "torchvision", "timm": "timm", "cadene": "Cadene's pretrained-models.pytorch"}


def variants(names: Iterable[str]) -> str:
    """Size, cost and published weights, one line a variant, those of a paper together."""
    groups = _group(names, lambda name: zoo.variant(name).paper)
    texts = []
    for paper, group in groups.items():
        title = f"{link_papers(paper)}:\n\n" if len(groups) > 1 else ""
        texts.append(title + _sizes(group))
    if any(zoo.variant(name).weights for name in names):
        texts.append("Top-1 and top-5 are the publishers' figures for ImageNet-1k's validation set, in percent.")
    return "\n\n".join(texts)


def _sizes(names: Iterable[str]) -> str:
    known = _rows()
    lines = []
    for name in names:
        weights, top1, top5 = zoo.variant(name).weights, "", ""
        link = f"[{weights.source.rpartition('.')[2]}]({HUB}{weights.source.removeprefix('hf:')})" if weights else ""
        if weights:
            top1, top5 = (f"{top:.2f}" if top else "" for top in (weights.top1, weights.top5))
        lines.append([f"`{name}`", *known[name][1:4], top1, top5, link])
    heads = ["model", "parameters", "multiply-adds", "input", f"top{HYPHEN}1", f"top{HYPHEN}5", "weights"]
    width = 7 if any(link for *_, link in lines) else 4
    return _table(heads[:width], [line[:width] for line in lines], right=range(1, min(width, 6)))


def departures(names: Iterable[str]) -> str:
    """What the rows say, those that say the same together."""
    groups = _group(names, lambda name: zoo.variant(name).departures)
    said = [f"- {_list(group)}: {text}." for text, group in groups.items() if text]
    if "" in groups:
        said.append(f"- {_list(groups[''])}: none noted." if len(groups) > 1 else "None noted in the table.")
    return "\n".join(said)


def proofs(names: Iterable[str]) -> str:
    """Reference and distances, one line a variant."""
    known, measured = _rows(), json.loads(MEASURED.read_text(encoding="utf-8"))
    lines = [[f"`{name}`", *known[name][4:]] for name in names]
    text = (
        "The same weights in zoo and in the reference, in float64: the largest relative distance of the logits, of the "
        "gradients, and of the running statistics after a training step. A record of the reference holds nine digits, "
        "so that 1e-9 is all that it can show; smaller ones come from the installed reference. Where only the paper's "
        "figures are named, parameters, multiply-adds and shapes are held to them.\n\n"
    )
    text += _table(["model", "proved against", "logits", "gradients", "statistics"], lines, right=range(2, 5))
    marked = _group(
        [name for name in names if "fields" in measured.get(name, {})],
        lambda name: ", ".join(f"`{field}`" for field in measured[name]["fields"]),
    )
    for fields, group in marked.items():
        text += f"\n\n¹ The reference of {_list(group)} departs from the row by {fields}, which the proof sets."
    return text


def endpoints(names: Iterable[str]) -> str:
    """Endpoints with stride and channels, for the variants that have the same together."""
    groups = _group(names, lambda name: (zoo.variant(name).endpoints, tuple(zoo.variant(name).aux_heads)))
    texts = []
    for (ends, auxiliary), group in groups.items():
        lines = [[f"`{name}`", str(stride or "a vector"), str(width)] for name, (stride, width) in ends.items()]
        lines += [[f"`{name}`", "auxiliary logits", "classes"] for name in auxiliary]
        title = f"{_list(group)}:\n\n" if len(groups) > 1 else ""
        texts.append(title + _table(["endpoint", "stride", "channels"], lines, right=range(1, 3)))
    return "\n\n".join(texts)


def loading(name: str) -> str:
    """Code that gets a net with weights, and what else can be read."""
    row = zoo.variant(name)
    shape = (1, row.image_size, row.image_size, row.channels)
    ends = tuple(list(row.endpoints)[-2:])
    use = f"logits, ends = model.apply(\n    variables, images, train=False, endpoints={ends}\n)".replace("'", '"')
    known = " and ".join(NAMES[layout] for layout in layouts(name))
    torch = (
        f"State dicts in the naming of {known} are read by {{py:obj}}`zoo.from_torch` and written by "
        "{py:obj}`zoo.to_torch`; files of them by {py:obj}`zoo.load`. Every name and every shape must fit."
    )
    if row.weights:
        code = f'# from the hub once, from its cache after that\nmodel, variables = zoo.pretrained("{name}")\n'
        return "\n\n".join(
            [
                _code("import jax.numpy as jnp", f"{code}images = jnp.zeros({shape})\n{use}"),
                f"Photographs are prepared as these weights want it by {{py:obj}}`zoo.predict`, given "
                f'`zoo.variant("{name}").weights.preprocessing`; `zoo predict {name} cat.jpg` does both.',
                torch,
            ]
        )
    code = (
        f'model, images = zoo.create("{name}"), jnp.zeros({shape})\n'
        "variables = model.init(jax.random.key(0), images, train=False)  # fresh ones\n"
        f'state_dict = zoo.to_torch("{name}", variables)  # {{name: array}}, as a file for torch would hold it\n'
        f'variables = zoo.from_torch("{name}", state_dict)\n'
    )
    missing = "No weights of this net are named in the table; it starts from fresh ones, or from a state dict."
    return "\n\n".join([missing, _code("import jax\nimport jax.numpy as jnp", code + use), torch])


def prose(docstring: str) -> str:
    """A docstring as Markdown: what stands outside backticks is meant as it is written."""
    parts = docstring.strip().split("`")
    parts[::2] = [link_papers(re.sub(r"([*\[\]<>_])", r"\\\1", part)) for part in parts[::2]]
    return "`".join(parts)


def link_papers(text: str) -> str:
    """arXiv numbers as links."""
    return re.sub(r"arXiv:(\d{4}\.\d{5}|\d{4}\.\d{4})\b", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def _rows() -> dict[str, list[str]]:
    """The cells of README's table of models, after the name of each."""
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in table().splitlines()[2:])
    return {name.strip("`"): others for name, *others in cells}


def _table(heads: list[str], lines: Iterable[list[str]], *, right: Iterable[int]) -> str:
    """A Markdown table; the columns of numbers stand to the right."""
    right = set(right)
    rule = ["---:" if column in right else "---" for column in range(len(heads))]
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, rule, *lines])


def _group(names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return groups


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _code(imports: str, body: str) -> str:
    return f"```python\n{imports}\n\nimport zoo\n\n{body}\n```".replace("jnp\n\nimport zoo", "jnp\nimport zoo")
