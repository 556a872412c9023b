"""How a family's parameter names are written in the torch world."""

from dataclasses import dataclass

Rules = tuple[tuple[str, str], ...]  # (pattern, replacement), as re.sub takes them, applied in order


@dataclass(frozen=True)
class Layout:
    """One naming of a family's state dict. Ours are torch's names with list indices glued on (`layer1_0`).

    Attributes:
      renames: from our module path, joined by dots and with the indices split off again, to torch's.
      flattened: our modules whose `[H, W, C, K]` kernel torch stores as `[K, C * H * W]`.
      pointwise: our dense layers that torch writes as 1x1 convolutions, `[K, C, 1, 1]`.
      old: rewrites of keys that older files have, to torch's present ones.
    """

    renames: Rules = ()
    flattened: tuple[str, ...] = ()
    pointwise: tuple[str, ...] = ()
    old: Rules = ()
