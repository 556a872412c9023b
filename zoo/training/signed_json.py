"""JSON with a digest of itself: what was changed since it was written is noticed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from zoo.errors import UserError


def sign(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a JSON object with a digest of them."""
    text = json.dumps(values, allow_nan=False)
    return {**values, "digest": hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}


def verify(text: str, *, indent: int | None = None, end: str = "") -> dict[str, Any]:
    """The values of a JSON object, whose digest is right where there is one.

    Raises:
      UserError: it is not what was written.
    """
    values = json.loads(text)
    signed = "digest" in values
    values = {name: value for name, value in values.items() if name != "digest"}
    if signed and json.dumps(sign(values), indent=indent) + end != text:
        remedy = 'restore it, or remove its "digest" if you changed it on purpose'
        raise UserError("it is not as it was written, its digest says so", remedy)
    return values
