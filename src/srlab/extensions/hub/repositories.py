"""Repositories of the Hub: two files of a network, downloaded into the Hub's own cache, or pushed."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from srlab import __version__
from srlab.checkpoints import LoadedCheckpoint, read_checkpoint, save_pretrained
from srlab.checkpoints.pretrained import CONFIG_FILE, WEIGHTS_FILE
from srlab.extensions.hub.card import Facts, model_card, recorded_facts
from srlab.extensions.optional_packages import import_optional
from srlab.models.network import Network
from srlab.models.registry import model_of
from srlab.models.sources import is_offline

log = logging.getLogger(__name__)


def download_repository(name: str) -> Path:
    """The folder in the Hub's cache with the network of ``user/repo`` or ``user/repo@revision``.

    Only ``config.json`` and ``model.safetensors`` are downloaded, if they are not in the cache; no code.
    With SRLAB_OFFLINE set, only the cache is read. Endpoint, token and cache folder are those of
    huggingface_hub (HF_ENDPOINT, HF_TOKEN, HF_HOME).

    Raises:
        FileNotFoundError: no such repository, revision or file there.
        ValueError: huggingface_hub is missing.
        OSError: no connection.
    """
    repository, _, revision = name.partition("@")
    hub = _huggingface_hub(f"there is no file {name}, and to read it from the Hugging Face Hub, srlab")
    log.info("%s: reading the repository from the Hugging Face Hub", name)
    with _explained(hub, name):
        folder = Path(
            hub.snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=[CONFIG_FILE, WEIGHTS_FILE],
                local_files_only=is_offline(),
                library_name="srlab",
                library_version=__version__,
            )
        )
    if not (folder / WEIGHTS_FILE).is_file():
        raise FileNotFoundError(f"the repository {name} has no {WEIGHTS_FILE}, so srlab cannot load it")
    return folder


def push_to_hub(
    source: Network | str | Path,
    repository: str,
    *,
    licence: str,
    private: bool = False,
    revision: str | None = None,
    message: str = "Upload a network of srlab",
    facts: Facts | None = None,
) -> str:
    """Push a network with a model card to ``user/repo``, which is created if it is missing.

    Args:
        source: a network, or what :func:`srlab.load_model` reads; of a run folder, the card has the recipe
            and the scores.
        repository: ``user/repo``.
        licence: of the weights, as the Hub writes it, such as ``apache-2.0``.
        private: of a new repository.
        revision: branch to push to, which must exist; None: the main one.
        message: of the commit.
        facts: for the card, instead of those that ``source`` records.

    Returns:
        The URL of the commit.

    Raises:
        ValueError: huggingface_hub is missing, the network cannot be written, or the Hub refuses.
        OSError: no connection.
    """
    hub = _huggingface_hub("srlab.push_to_hub")
    if isinstance(source, Network):
        checkpoint = LoadedCheckpoint(source, {"model": model_of(source)})
    else:
        checkpoint = read_checkpoint(source)
    known = facts or recorded_facts(None if isinstance(source, Network) else Path(source), checkpoint)
    with tempfile.TemporaryDirectory() as folder, _explained(hub, repository):
        save_pretrained(checkpoint, folder)
        card = model_card(checkpoint.network, repository=repository, licence=licence, facts=known)
        Path(folder, "README.md").write_text(card, encoding="utf-8")
        api = hub.HfApi(library_name="srlab", library_version=__version__)
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository, folder_path=folder, revision=revision, commit_message=message
        )
    return str(commit.commit_url)


def _huggingface_hub(purpose: str) -> ModuleType:
    import_optional("huggingface_hub.errors", purpose=purpose, extra="hub")
    return import_optional("huggingface_hub", purpose=purpose, extra="hub")


@contextmanager
def _explained(hub: ModuleType, name: str) -> Iterator[None]:
    """Turn the client's errors, of many classes, into ones with a remedy."""
    errors = hub.errors
    try:
        yield
    except errors.RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"no file or folder {name}, and no such repository on the Hugging Face Hub, or a private one "
            "(hf auth login)"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise FileNotFoundError(f"{name}: the repository has no such revision") from error
    except (errors.LocalEntryNotFoundError, errors.HFValidationError) as error:
        raise FileNotFoundError(
            f"{name} is no file, not in the Hub's cache, and the Hugging Face Hub was not reached "
            f"({str(error).splitlines()[0]})"
        ) from error
    except errors.HfHubHTTPError as error:
        raise ValueError(f"{name}: the Hugging Face Hub refused: {str(error).splitlines()[0]}") from error
