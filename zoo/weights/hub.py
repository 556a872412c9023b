"""Repositories of weights on the Hugging Face hub: their file, and what timm's config.json tells about it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.preprocessing import Preprocessing
from zoo.errors import UserError
from zoo.weights.wording import escape

PREFIX, FILE, CARD = "hf:", "model.safetensors", "config.json"
PATIENCE = 5.0  # seconds for the first answer
REMEDY = "pass a file of weights that says it, or another repository"


@dataclass(frozen=True)
class Card:
    """What a repository says of its weights: how pictures are prepared, and the names of the classes, if it does."""

    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None


def fetch(source: str, file: str = FILE) -> Path:
    """A file of `hf:org/name`, kept in the hub's cache (`HF_HUB_OFFLINE=1` looks nowhere else).

    The hub is asked once before the download, which itself would ask a dead network again and again, 23 seconds long.

    Raises:
      FileNotFoundError: it is not there, or cannot be reached.
      ModuleNotFoundError: huggingface_hub is not installed.
    """
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{source} is fetched by huggingface_hub: `pip install 'jax-cnn-zoo[hub]'`."
        ) from None
    repository = source.removeprefix(PREFIX)
    unreachable: Exception | None = None
    try:
        url = huggingface_hub.hf_hub_url(repository, file)
        huggingface_hub.get_hf_file_metadata(url, timeout=PATIENCE)
    except Exception as error:  # each version has its own for a dead network
        unreachable = error
    try:
        return Path(huggingface_hub.hf_hub_download(repository, file, local_files_only=unreachable is not None))
    except Exception as error:  # not there, no network and not in the cache, an impossible name
        reason = escape(str(unreachable or error).partition("\n")[0])
        raise FileNotFoundError(f"no {file} from the hub's {escape(repository)!r}: {reason}") from error


def read_card(source: str) -> Card | None:
    """What timm's `config.json` in the repository says; None where there is no such file, or not one of timm's.

    Raises:
      UserError: it says what cannot be.
    """
    try:
        path = fetch(source, CARD)
    except FileNotFoundError:
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        said = values.get("pretrained_cfg", values)  # older files have all on one level
        if "mean" not in said:
            return None
        names = values.get("label_names", said.get("label_names"))
        return Card(_read_preprocessing(said), None if names is None else _check_names(names, said, values))
    except UserError as error:
        raise UserError(f"{path}: {error.problem}", error.remedy or REMEDY) from error
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise UserError(f"{path} is not a config.json as timm writes it ({escape(repr(error))})", REMEDY) from error


def _read_preprocessing(said: Mapping[str, Any]) -> Preprocessing:
    """timm's words in ours: "squash" stretches the whole picture."""
    _, height, width = said["input_size"]
    mode = said.get("crop_mode") or "center"
    if mode not in ("center", "squash"):
        raise UserError(f"its crop_mode is {mode!r}", "only 'center' and 'squash' are known")
    crop = None if mode == "squash" else said["crop_pct"]
    return Preprocessing(
        (height, width), crop, tuple(said["mean"]), tuple(said["std"]), interpolation=said["interpolation"]
    )


def _check_names(names: Any, said: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[str, ...]:
    count = said.get("num_classes", values.get("num_classes"))
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise UserError("its label_names are not a list of names")
    if len(names) != count:
        raise UserError(f"it has {len(names)} label_names for {count} classes")
    return tuple(names)
