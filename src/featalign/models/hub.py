"""Models on the Hugging Face hub: named files down, named files up, and the hub's failures as one line each.

``huggingface_hub`` keeps its own settings: HF_HUB_OFFLINE, HF_ENDPOINT, HF_HOME and the login of `hf auth login`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from featalign.errors import WeightsError, said
from featalign.version import __version__

PREFIX = "hub:"  # says that a name is no path
_NAME = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[\w./-]+))?")


class HubModel(NamedTuple):
    """A model on the hub: ``owner/name`` and the branch, tag or commit, None for the newest."""

    repo: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubModel | None:
        """``owner/name`` or ``owner/name@revision``, with or without ``hub:`` before it; None for anything else."""
        match = _NAME.fullmatch(text.removeprefix(PREFIX))
        return match and cls(match["repo"], match["revision"])

    @property
    def name(self) -> str:
        """As :meth:`parse` reads it, without ``hub:``."""
        return self.repo + (f"@{self.revision}" if self.revision else "")

    def __str__(self) -> str:
        return PREFIX + self.name


def fetch(model: HubModel, file: str, *, local_files_only: bool = False) -> Path:
    """That one file of ``model``, from the hub or from the hub's cache on this machine, and nothing else.

    The path ends in the commit and the name of the file.

    Raises:
        WeightsError: if it cannot be had; the message says why.
    """
    from huggingface_hub import hf_hub_download

    with _explained(model, file):
        return Path(
            hf_hub_download(
                model.repo,
                file,
                revision=model.revision,
                local_files_only=local_files_only,
                library_name="featalign",
                library_version=__version__,
            )
        )


def upload(folder: Path, files: Sequence[str], model: HubModel, *, private: bool = False) -> str:
    """Commit ``files`` of ``folder`` to ``model``, which is made if there is none; the address of the model.

    Raises:
        WeightsError: without a login, without the right to write there, where the hub cannot be reached, or if
            ``private`` is asked of a model that is public.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    if get_token() is None:
        raise WeightsError(
            f"{model}: pushing needs a login; run `hf auth login`, or set HF_TOKEN to a token that may write"
        )
    api = HfApi(library_name="featalign", library_version=__version__)
    with _explained(model, files[0]):
        address = api.create_repo(model.repo, private=private or None, exist_ok=True)
        if private and not api.model_info(model.repo).private:
            raise WeightsError(f"{model}: exists and is public; make it private on its page, or push without private")
        api.create_commit(
            model.repo,
            [CommitOperationAdd(file, folder / file) for file in files],
            commit_message=f"Model of featalign {__version__}",
            revision=model.revision,
        )
    return str(address)


@contextmanager
def _explained(model: HubModel, file: str) -> Iterator[None]:
    """What the hub's library raises, as a WeightsError of one line."""
    from huggingface_hub.errors import HfHubHTTPError

    # Its first base is that of the HTTP library, which differs between versions and need not be an OSError.
    http_error: type[Exception] = HfHubHTTPError.__mro__[1]
    try:
        yield
    except (OSError, ValueError, http_error) as error:
        raise WeightsError(f"{model}: {_reason(error, model, file)}") from error


def _reason(error: Exception, model: HubModel, file: str) -> str:
    from huggingface_hub import constants, errors

    where = constants.ENDPOINT
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, errors.HfHubHTTPError):
        error = error.__cause__  # the hub did answer
    if isinstance(error, errors.GatedRepoError):
        return f"is gated; ask for access at {where}/{model.repo}, then run `hf auth login`"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"no such model at {where}, or a private one that this login does not see (`hf auth login`)"
    if isinstance(error, errors.RevisionNotFoundError):
        return f'has no branch, tag or commit "{model.revision or "main"}"'
    if isinstance(error, errors.LocalEntryNotFoundError):
        return f"{where} is not asked (offline) or cannot be reached, and {file} is not in the cache"
    if isinstance(error, errors.EntryNotFoundError):
        return f"holds no {file}, so it is no model of featalign"
    if isinstance(error, errors.HfHubHTTPError):
        return _refusal(error.response.status_code, where)
    return said(error) if isinstance(error, ValueError) else f"{where} cannot be reached ({said(error)})"


def _refusal(status: int, where: str) -> str:
    if status in (401, 403):
        return f"{where} refuses this login (status {status}); run `hf auth login` with a token that may do this"
    return f"{where} answered with status {status}; try again later"
