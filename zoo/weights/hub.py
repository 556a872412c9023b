"""Files of weights on the Hugging Face hub."""

from pathlib import Path

from zoo.weights.wording import escape

PREFIX, FILE = "hf:", "model.safetensors"
PATIENCE = 5.0  # seconds for the first answer


def fetch(source: str) -> Path:
    """The `model.safetensors` of `hf:org/name`, kept in the hub's cache (`HF_HUB_OFFLINE=1` looks nowhere else).

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
        url = huggingface_hub.hf_hub_url(repository, FILE)
        huggingface_hub.get_hf_file_metadata(url, timeout=PATIENCE)
    except Exception as error:  # each version has its own for a dead network
        unreachable = error
    try:
        return Path(huggingface_hub.hf_hub_download(repository, FILE, local_files_only=unreachable is not None))
    except Exception as error:  # not there, no network and not in the cache, an impossible name
        reason = escape(str(unreachable or error).partition("\n")[0])
        raise FileNotFoundError(f"no {FILE} from the hub's {escape(repository)!r}: {reason}") from error
