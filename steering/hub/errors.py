"""Errors of a hub, and the translation of huggingface_hub's exceptions into them.

Refused
├── RepositoryNotFound          404  no such repository, or a private one
│   ├── RevisionNotFound        404
│   └── NoSuchFile              404
├── GatedRepository             403  terms to accept, a token to set
├── DownloadCancelled           409
├── UnreadableFile              400  not what its name says
├── BrokenDownload              502  stopped midway, or brought other bytes than the hub listed
├── HubUnreachable              503  no network, no hub, or HF_HUB_OFFLINE
└── DiskFull                    507
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import errors

from steering.errors import Refused


class RepositoryNotFound(Refused):
    code = "repository_not_found"
    status = 404


class RevisionNotFound(RepositoryNotFound):
    code = "revision_not_found"


class NoSuchFile(RepositoryNotFound):
    code = "no_such_file"


class GatedRepository(Refused):
    code = "gated_repository"
    status = 403


class DownloadCancelled(Refused):
    """Error: a user cancelled the download. The bytes on disk are kept; the next download continues there."""

    code = "download_cancelled"
    status = 409


class UnreadableFile(Refused):
    code = "unreadable_file"


class BrokenDownload(Refused):
    code = "broken_download"
    status = 502


class HubUnreachable(Refused):
    code = "hub_unreachable"
    status = 503


class DiskFull(Refused):
    code = "disk_full"
    status = 507


@contextmanager
def explained(repo_id: str, revision: str, endpoint: str) -> Iterator[None]:
    """Translate the exceptions that huggingface_hub and httpx2 raise in the block into the errors of this module."""
    try:
        yield
    except Refused:
        raise
    except errors.HFValidationError as error:
        raise RepositoryNotFound(f"{repo_id!r} is not a hub id: expected owner/name ({error})") from error
    except errors.OfflineModeIsEnabled as error:
        raise HubUnreachable(offline_message(repo_id, revision)) from error
    except errors.HfHubHTTPError as error:
        raise _of_answer(error, repo_id, revision, endpoint) from error
    except (httpx2.HTTPError, httpx2.InvalidURL, errors.LocalEntryNotFoundError, errors.FileMetadataError) as error:
        raise HubUnreachable(
            f"{endpoint} cannot be reached for {repo_id} ({type(error).__name__}: {error}):"
            " check the network, the proxy and HF_ENDPOINT"
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"the disk of the cache became full while {repo_id} was downloaded ({error}):"
                " free some space and download it again, it continues"
            ) from error
        raise


def offline_message(repo_id: str, revision: str) -> str:
    return (
        f"{repo_id} at {revision} is not complete in the cache, and HF_HUB_OFFLINE forbids a download:"
        " unset HF_HUB_OFFLINE, or copy the files into the cache"
    )


def gated(repo_id: str, endpoint: str, reason: str) -> GatedRepository:
    return GatedRepository(
        f"{repo_id} may not be read {reason}: accept its terms at {endpoint}/{repo_id}"
        " and set HF_TOKEN to a token of the account that accepted them",
        repository=repo_id,
    )


def _of_answer(error: errors.HfHubHTTPError, repo_id: str, revision: str, endpoint: str) -> Refused:
    status = error.response.status_code
    reason = error.server_message or str(error).strip().splitlines()[0]
    match error:
        case errors.GatedRepoError():
            return gated(repo_id, endpoint, f"(the hub answered {status}, gated)")
        case errors.RevisionNotFoundError():
            return RevisionNotFound(f"{repo_id} has no revision {revision!r}: expected a branch, a tag or a commit")
        case errors.RepositoryNotFoundError():
            return RepositoryNotFound(
                f"{repo_id} is not on {endpoint}, or is private: check the name;"
                " for a private repository set HF_TOKEN to a token that may read it",
                repository=repo_id,
            )
        case errors.EntryNotFoundError():
            return NoSuchFile(f"{error.request.url} is not there: {repo_id} has no such file at {revision}")
    if status in (401, 403):
        return gated(repo_id, endpoint, f"(the hub answered {status}: {reason})")
    if status == 429 or status >= 500:
        return HubUnreachable(f"{endpoint} answered {status} for {repo_id} ({reason}): try again later")
    return BrokenDownload(f"{endpoint} answered {status} for {repo_id}: {reason}")
