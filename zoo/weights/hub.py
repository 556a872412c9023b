"""Repositories of weights, on the Hugging Face hub or in a folder: their files, and what timm's config.json tells."""

import errno
import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoo.data.preprocessing import Preprocessing
from zoo.errors import UserError
from zoo.weights.files import read_shard_names, split_part
from zoo.weights.whole_files import explain_failure
from zoo.weights.wording import escape

PREFIX, CARD = "hf:", "config.json"
INDEX = "model.safetensors.index.json"  # of weights that are too large for one file
FILES = ("model.safetensors", INDEX, "pytorch_model.bin")  # in which weights are looked for
PATIENCE = 5.0  # seconds for the first answer
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)  # faults of the disk with the cache
REMEDY = "pass a file of weights that says it, or another repository"


@dataclass(frozen=True)
class Card:
    """What a repository says of its weights: how pictures are prepared, and the names of the classes, if it does."""

    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None


def find(folder: Path) -> Path:
    """The weights in a folder that has the files of a repository.

    Raises:
      FileNotFoundError: there are none.
    """
    for file in FILES:
        if (folder / file).is_file():
            return folder / file
    raise FileNotFoundError(f"no {', '.join(FILES[:-1])} or {FILES[-1]} in the folder {folder}.")


def fetch(source: str) -> Path:
    """The weights of `hf:org/name`, or of `hf:org/name@revision`, a branch, a tag or a commit.

    Raises:
      FileNotFoundError: they are not there, or cannot be reached.
      ModuleNotFoundError: huggingface_hub is not installed.
    """
    failures: list[FileNotFoundError] = []
    for file in FILES:
        try:
            path = fetch_file(source, file, ask=not failures or _is_missing(failures[0]))
        except FileNotFoundError as error:
            failures.append(error)
        else:
            for shard in read_shard_names(path) if file == INDEX else ():
                fetch_file(source, shard)
            return path
    raise failures[0]


def fetch_file(source: str, file: str, *, ask: bool = True) -> Path:
    """A file of a repository, kept in the hub's cache (`HF_HUB_OFFLINE=1` looks nowhere else).

    The hub is asked once before the download, which itself would ask a dead network again and again, 23 seconds long.
    Where it does not answer, or refuses, a copy in the cache is taken, and a warning says so.

    Args:
      source: the repository, as in `fetch`.
      file: its name there.
      ask: False looks in the cache alone.

    Raises:
      FileNotFoundError: it is not there, or cannot be reached.
      OSError: the cache cannot be written; the message says why and what to do.
      ModuleNotFoundError: huggingface_hub is not installed.
    """
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{source} is fetched by huggingface_hub: `pip install 'jax-cnn-zoo[hub]'`."
        ) from None
    place = source.removeprefix(PREFIX)
    repository, _, named = place.partition("@")
    revision = named or None
    failure: Exception | None = None
    try:
        if ask:
            url = huggingface_hub.hf_hub_url(repository, file, revision=revision)
            huggingface_hub.get_hf_file_metadata(url, timeout=PATIENCE)
    except Exception as error:  # each version has its own for a dead network
        failure = error
    try:
        if isinstance(failure, errors.RevisionNotFoundError | errors.EntryNotFoundError):
            raise failure  # whatever the cache has
        local = failure is not None or not ask
        path = Path(huggingface_hub.hf_hub_download(repository, file, revision=revision, local_files_only=local))
    except Exception as error:  # not there, no network and not in the cache, an impossible name, an interruption
        if isinstance(error, OSError) and error.errno in DISK:
            raise explain_failure(error, Path(huggingface_hub.constants.HF_HUB_CACHE)) from error
        cause = failure or error
        raise FileNotFoundError(f"no {file} from the hub's {escape(place)!r}: {_explain(cause, revision)}.") from cause
    if failure is not None and not isinstance(failure, errors.OfflineModeIsEnabled):
        reason = _explain(failure, revision)
        warnings.warn(f"{file} of {source} is a copy of earlier, from the hub's cache: {reason}", stacklevel=2)
    return path


def _is_missing(failure: FileNotFoundError) -> bool:
    """Whether the hub has answered, and has no such file."""
    from huggingface_hub.errors import EntryNotFoundError

    return isinstance(failure.__cause__, EntryNotFoundError)


def push(folder: Path, repository: str, *, private: bool = False) -> str:
    """Makes `org/name` on the hub what a folder holds, in one commit: all of it arrives, or nothing.

    Args:
      folder: its files are those of the repository afterwards, beside others that are there.
      repository: is made if it is not there.
      private: whether only its owners see a new one.

    Returns:
      The address of its page.

    Raises:
      UserError: the hub does not take it.
      ModuleNotFoundError: huggingface_hub is not installed.
    """
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{repository} is written by huggingface_hub: `pip install 'jax-cnn-zoo[hub]'`."
        ) from None
    try:
        api = huggingface_hub.HfApi()
        page = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Weights from jax-cnn-zoo")
    except Exception as error:  # no token, no network, a name that cannot be
        reason = escape(str(error).partition("\n")[0]).rstrip(".")
        remedy = "see that the hub can be reached, and log in with `hf auth login` as somebody who may write there"
        raise UserError(f"nothing was pushed to {escape(repository)} ({reason})", remedy) from error
    return str(page)


def _explain(error: Exception, revision: str | None) -> str:
    from huggingface_hub import errors

    reasons = {
        errors.GatedRepoError: "ask for access on its page there, then log in with `hf auth login`",
        errors.RepositoryNotFoundError: "there is no such repository, or it is private: log in with `hf auth login`",
        errors.RevisionNotFoundError: f"it has no revision {escape(revision)!r}",
        errors.EntryNotFoundError: "the repository has no such file",
    }
    for kind, reason in reasons.items():
        if isinstance(error, kind):
            return reason
    return escape(str(error).partition("\n")[0]).rstrip(".")


def read_card(source: str | Path | None) -> Card | None:
    """What timm's `config.json` in a repository says; None where there is no such file, or not one of timm's.

    Args:
      source: of weights, as in `zoo.load`: of a file there is no repository.

    Raises:
      UserError: it says what cannot be.
    """
    if (path := _find_card(source)) is None:
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


def _find_card(source: str | Path | None) -> Path | None:
    if source is None:
        return None
    repository, _ = split_part(source)
    if str(source).startswith(PREFIX):
        try:
            return fetch_file(str(repository), CARD)
        except FileNotFoundError:
            return None
    path = repository / CARD
    return path if path.is_file() else None


def _read_preprocessing(said: Mapping[str, Any]) -> Preprocessing:
    """timm's words in ours: "squash" stretches the whole picture."""
    _, height, width = said["input_size"]
    mode = said.get("crop_mode") or "center"
    if mode not in ("center", "squash"):
        raise UserError(f"its crop_mode is {mode!r}", "only 'center' and 'squash' are known")
    crop = None if mode == "squash" else float(said["crop_pct"])
    found = Preprocessing(
        (height, width), crop, tuple(said["mean"]), tuple(said["std"]), interpolation=said["interpolation"]
    )
    if crop is None or round(height / crop) == (resized := math.floor(height / crop)):
        return found
    return replace(found, crop=height / resized)  # timm cuts off the fraction that a Preprocessing rounds


def _check_names(names: Any, said: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[str, ...]:
    count = said.get("num_classes", values.get("num_classes"))
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise UserError("its label_names are not a list of names")
    if len(names) != count:
        raise UserError(f"it has {len(names)} label_names for {count} classes")
    return tuple(names)
