"""Recipes as TOML files, whose keys are the fields of `TrainConfig`; some ship with the package."""

import difflib
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

from zoo.errors import UserError
from zoo.training.recipe import TrainConfig

FOLDER = Path(__file__).with_name("recipes")


def list_recipes() -> dict[str, str]:
    """The names of the shipped recipes with what each is for.

    >>> list_recipes()["resnet-cifar"]
    'ResNets on CIFAR: He et al. 2015, arXiv:1512.03385, section 4.2'
    """
    return {path.stem: _read(path).partition("\n")[0].lstrip("# ") for path in sorted(FOLDER.glob("*.toml"))}


def show_recipe(name: str | Path) -> str:
    """The text of a shipped recipe, or of a file (`.toml`).

    Raises:
      UserError: no recipe is called so, or the file cannot be read.
      FileNotFoundError: there is no such file.
    """
    if str(name) in list_recipes():
        return _read(FOLDER / f"{name}.toml")
    path = Path(name).expanduser()
    if path.suffix == ".toml":
        return _read(path)
    near = difflib.get_close_matches(str(name), list_recipes(), n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    raise UserError(f"no recipe is called {str(name)!r}", f"{guess}Known: {', '.join(list_recipes())}, or a .toml file")


def read_recipe(name: str | Path) -> dict[str, Any]:
    """The values of a shipped recipe, or of a file: `TrainConfig("resnet20", **read_recipe("resnet-cifar"))`.

    Raises:
      UserError: no recipe is called so, the file is not TOML, or it has a key that is no field of `TrainConfig`.
      FileNotFoundError: there is no such file.
    """
    try:
        values = tomllib.loads(show_recipe(name))
    except tomllib.TOMLDecodeError as error:
        raise UserError(
            f"{name} is not TOML ({error})", "write one key = value a line, as zoo recipes shows"
        ) from error
    known = [field.name for field in fields(TrainConfig)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"its keys are {', '.join(known)}"
            raise UserError(f"{name} has an unknown key {key!r}", remedy)
    try:
        TrainConfig(**{"model": "", **values})
    except UserError as error:
        raise UserError(f"{name}: {error.problem}", error.remedy) from error
    return values


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text in UTF-8", "write it anew") from error
