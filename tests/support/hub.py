"""A repository of the Hugging Face hub, made in the hub's cache."""

from pathlib import Path

COMMIT = "0" * 40


def make_repository(cache: Path, name: str) -> Path:
    """The folder in which the files of `name` ("org/name") are looked for when the hub is not."""
    folder = cache / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    return folder / "snapshots" / COMMIT
