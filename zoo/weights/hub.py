"""Files of weights on the Hugging Face hub."""

from pathlib import Path

PREFIX = "hf:"


def fetch(source: str) -> Path:
    """The `model.safetensors` of `hf:org/name`, kept in the hub's cache (`HF_HUB_OFFLINE=1` looks nowhere else).

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
    try:
        return Path(huggingface_hub.hf_hub_download(repository, "model.safetensors"))
    except (OSError, ValueError) as error:  # not there, no network, offline and not in the cache, an impossible name
        reason = str(error).partition("\n")[0]
        raise FileNotFoundError(f"no model.safetensors from the hub's {repository!r}: {reason}") from error
