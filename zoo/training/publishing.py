"""A run for others: its weights in the form of a hub's repository, with a card that says what it is and how good."""

import json
import shutil
import tempfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from zoo.data.preprocessing import format_preprocessing
from zoo.errors import UserError
from zoo.models import registry
from zoo.training.metrics import Epoch, find_best
from zoo.training.recipe import TrainConfig
from zoo.training.run_folder import RunFolder, Trained
from zoo.weights import hub
from zoo.weights.repository import TIMM, write_repository
from zoo.weights.whole_files import write_whole
from zoo.weights.wording import list_names

README, CURVES = "README.md", "curves.png"


def push(run: str | Path, repository: str, *, private: bool = False) -> str:
    """Writes a finished run to `org/name` on the Hugging Face hub; all of it arrives, or nothing.

    Args:
      run: the run folder.
      repository: is made if it is not there.
      private: whether only its owners see a new one.

    Returns:
      The address of its page.

    Raises:
      UserError: there is no such run, it is not finished, or the hub does not take it.
      ModuleNotFoundError: huggingface_hub is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_run(run, Path(folder), repository)
        return hub.push(Path(folder), repository, private=private)


def write_run(run: str | Path, folder: Path, repository: str) -> None:
    """Writes what `push` would: `model.safetensors`, `config.json`, `README.md` and the curves, if they were drawn.

    Args:
      run: the run folder.
      folder: where; is made if it is not there.
      repository: of which the card speaks, `org/name`.

    Raises:
      UserError: there is no such run, or it is not finished.
      OSError: it cannot be written; the message says why and what to do.
    """
    source = RunFolder(run)
    trained = source.restore()
    if not trained.finished:
        problem = f"{run} is not finished"
        raise UserError(problem, "zoo.training.resume continues it", code="interrupted-run", folder=source.folder)
    record = trained.record
    write_repository(
        folder,
        record.config.model,
        trained.state.variables,
        model=trained.model,
        preprocessing=record.preprocessing,
        class_names=record.class_names,
    )
    if drawn := source.curves_path.exists():
        write_whole(folder / CURVES, lambda path: shutil.copyfile(source.curves_path, path))
    text = describe(trained, repository, drawn=drawn)
    write_whole(folder / README, lambda path: path.write_text(text, encoding="utf-8"))


def describe(trained: Trained, repository: str, *, drawn: bool = False) -> str:
    """The card of a run as the hub shows it: Markdown, headed by what its search reads.

    Args:
      trained: a finished run.
      repository: `org/name`.
      drawn: whether `curves.png` is beside it.
    """
    record, config = trained.record, trained.record.config
    row, name = registry.variant(config.model), config.model
    epoch = trained.history[-1] if config.patience is None else find_best(trained.history)
    data = "pictures of the author's own" if "splits" in record.own else _hide_folder(config.data)
    names = list_names(record.class_names or ())
    return "\n".join(
        [
            "---",
            *_head(trained, epoch, data),
            "---",
            "",
            f"# {repository.rpartition('/')[2]}",
            "",
            f"`{name}` ({row.paper}), trained on {data}: {record.num_classes} classes{names and ': '}{names}.",
            "",
            "| after epoch | statistics | test loss | test accuracy |",
            "|---:|---|---:|---:|",
            f"| {epoch.epoch} | running | {epoch.test_loss_running:.4f} | {epoch.test_accuracy_running:.2%} |",
            f"| {epoch.epoch} | of each test batch | {epoch.test_loss_batch:.4f} | {epoch.test_accuracy_batch:.2%} |",
            "",
            *([f"![Loss and accuracy, epoch by epoch]({CURVES})", ""] if drawn else []),
            "## Use",
            "",
            "```python",
            "import zoo",
            "",
            f'model, variables = zoo.pretrained("{name}", "hf:{repository}")',
            "```",
            "",
            f"    zoo predict {name} PICTURE --weights hf:{repository}",
            "",
            *([f'In torch: `timm.create_model("hf_hub:{repository}", pretrained=True)`.', ""] if name in TIMM else []),
            "Pictures are prepared as `config.json` says:",
            "",
            f"    {format_preprocessing(record.preprocessing)}",
            "",
            "## Recipe",
            "",
            "What differs from `zoo.TrainConfig`:",
            "",
            "```json",
            json.dumps(_list_choices(config), indent=2, ensure_ascii=False),
            "```",
            "",
        ]
    )


def _head(trained: Trained, epoch: Epoch, data: str) -> list[str]:
    """YAML, of which JSON is a part."""
    config = trained.record.config
    tags = ["image-classification", "jax", "jax-cnn-zoo", *(["timm"] if config.model in TIMM else [])]
    accuracy = {"type": "accuracy", "value": round(epoch.test_accuracy_running, 6)}
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": data, "type": data.partition(":")[0]},
        "metrics": [accuracy],
    }
    head: dict[str, Any] = {"pipeline_tag": "image-classification", "tags": tags}
    if config.model in TIMM:
        head["library_name"] = "timm"
    head["model-index"] = [{"name": config.model, "results": [result]}]
    return [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]


def _list_choices(config: TrainConfig) -> dict[str, Any]:
    """The fields of a recipe that are not its defaults; of folders and files the last name alone, as others see it."""
    defaults = {one.name: one.default for one in fields(config)}
    chosen = {name: value for name, value in asdict(config).items() if value != defaults[name]}
    return {name: _hide_folder(value) if name in ("data", "weights") else value for name, value in chosen.items()}


def _hide_folder(source: str) -> str:
    """`"folder:/home/me/pets"` as `"folder:pets"`; what is on the hub stays as it is."""
    kind, colon, place = source.rpartition(":")
    return source if kind == "hf" else f"{kind}{colon}{Path(place).name}"
