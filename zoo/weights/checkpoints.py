"""The state dict in what a training script saved: the whole file, one of its parts, or the tensors of a whole net."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo.errors import UserError
from zoo.weights.torch_files import Foreign, Tensor, TorchFile, open_torch_file
from zoo.weights.wording import escape, list_names

StateDict = Mapping[str, Any]  # of `Tensor`s, or of what stands in the place of one
# Where training scripts put it. An average beside it, as state_dict_ema or model_ema, is read where it is asked for.
USUAL = ("state_dict", "model_state_dict", "model", "net")
LONGEST = 1000  # characters of a name
CLEAN = "where it was made, torch.save(net.state_dict(), 'weights.pth') writes one"


def find_parts(content: Any) -> dict[str, StateDict]:
    """What a checkpoint holds of state dicts, by their keys, that of the one that is meant first."""
    if not isinstance(content, Mapping):
        return {}
    parts = {key: state for key, value in content.items() if (state := _find_state_dict(value)) is not None}
    return dict(sorted(parts.items(), key=lambda part: USUAL.index(part[0]) if part[0] in USUAL else len(USUAL)))


def read_state_dict(path: Path, part: str | None = None) -> dict[str, Any]:
    """`{name: array}` of a file of `torch.save`; what is no dense tensor there is a `Foreign` here.

    Args:
      path: the file.
      part: the key of the state dict, as in `choose_state_dict`.

    Raises:
      UserError: it has none; and whatever Python raises over a damaged file.
    """
    with open_torch_file(path) as file:
        state = choose_state_dict(file, part)
        return {key: file.load(value) if isinstance(value, Tensor) else value for key, value in state.items()}


def read_parts(path: Path) -> list[str]:
    """The keys of `find_parts`, of a file."""
    with open_torch_file(path) as file:
        return list(find_parts(file.content))


def choose_state_dict(file: TorchFile, part: str | None = None) -> StateDict:
    """The state dict of a file.

    Args:
      file: an open one.
      part: the key under which it stands; by default the first of `USUAL` that is there, the only one, or none because
        the whole file is a state dict.

    Raises:
      UserError: there is none, or not under that key, or it cannot be told which is meant.
    """
    parts, whole = find_parts(file.content), _find_state_dict(file.content)
    first = next(iter(parts), None)
    if part is not None:
        if part not in parts:
            raise UserError(f"it has no state dict {escape(part)!r}", f"it has {list_names(parts) or 'no parts'}")
        chosen = parts[part]
    elif first is not None and (first in USUAL or len(parts) == 1):
        chosen = parts[first]
    elif parts:
        raise UserError(f"it holds several state dicts, {list_names(parts)}", f"name one, as in FILE#{escape(first)}")
    elif whole is not None:
        chosen = whole
    else:
        found = f", but {list_names(file.foreign)}, whose code is not run" if file.foreign else ""
        raise UserError(f"it holds no state dict {{name: tensor}}{found}", CLEAN)
    if strange := [key for key, value in chosen.items() if not isinstance(value, Tensor | Foreign)]:
        raise UserError(f"its state dict holds more than tensors, {list_names(strange)}", CLEAN)
    return chosen


def _find_state_dict(value: Any) -> StateDict | None:
    """The state dict that a value is, or of the net that it is; None of anything else."""
    if isinstance(value, Foreign):
        value = dict(_walk(value, "", set()))
    if isinstance(value, Mapping) and any(isinstance(one, Tensor) for one in value.values()):
        return value if all(isinstance(key, str) for key in value) else None
    return None


def _walk(module: Foreign, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """What torch's `Module.state_dict` would give, from the attributes of a pickled one."""
    if not isinstance(module.state, Mapping) or id(module) in seen:
        return
    seen.add(id(module))
    passing = module.state.get("_non_persistent_buffers_set") or ()
    for kind in ("_parameters", "_buffers"):
        for name, tensor in (module.state.get(kind) or {}).items():
            if tensor is not None and name not in passing:
                yield _join(prefix, name), tensor
    for name, inner in (module.state.get("_modules") or {}).items():
        if isinstance(inner, Foreign):
            yield from _walk(inner, _join(prefix, name, ""), seen)


def _join(prefix: str, *names: object) -> str:
    name = f"{prefix}{'.'.join(map(str, names))}"
    if len(name) > LONGEST:
        raise ValueError("its modules are nested too deeply")
    return name
