"""Downloads published models. No other file of the package opens a network connection.

gdown does the transfer: HTTP, resuming, proxies of the environment, and Google Drive with its pages of confirmation. On top of
it come several addresses for one file, the check of the file before it appears in the models folder, and a lock, so that two
processes do not download the same file.
"""

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

from vsedvr.atomic import whole_file
from vsedvr.weights.verify import published_problem
from vsedvr.weights.zoo import Entry, models_folder

__all__ = ["DownloadError", "download"]

logger = logging.getLogger("vsedvr")

ATTEMPTS = 5
"""Most attempts at one address; after the first only as long as each attempt brings the download forward."""
MOST = 4
"""Largest size of a file that is accepted, as a multiple of the size in the zoo's table."""


class DownloadError(OSError):
    """Error for a model that cannot be downloaded. Its message says why, and how to get the file by hand."""


def download(entry: Entry, *, timeout: float = 30.0, on_bytes: Callable[[int], object] = lambda done: None) -> Path:
    """Downloads the published file of a model into the models folder.

    The file appears there when it is whole and checked (verify.published_problem). What an interrupted download leaves is
    kept beside it, hidden, and the next call goes on with it. If another process is downloading the same model, this one
    waits for it. Proxies are those of the environment (HTTPS_PROXY, NO_PROXY).

    Args:
        entry: the model; if its file is there already, nothing is done.
        timeout: seconds to wait for an address that sends nothing.
        on_bytes: called with the number of bytes that have arrived so far.

    Returns:
        The path of the model's file.

    Raises:
        DownloadError: if no address gives the file.
        OSError: if the file cannot be written.
    """
    there = entry.path()
    if there:
        return there
    if not entry.urls:
        raise DownloadError(f"{entry.name} has no address of its own. {entry.by_hand}")
    target, unfinished = models_folder() / entry.file, _unfinished(entry)
    with _lock(entry):
        if target.is_file():  # another process was faster
            return target
        logger.warning("downloading %s, about %d MB, into %s", entry.name, round(entry.megabytes), models_folder())
        problems = []
        for url in entry.urls:
            problem = _download_from(url, entry, timeout, on_bytes)
            if not problem:
                with whole_file(target) as temporary:
                    os.replace(unfinished, temporary)
                return target
            problems.append(f"{urlsplit(url).hostname} {problem}")
        kept = "What has arrived is kept, and another try goes on with it. " if _arrived(unfinished) else ""
    raise DownloadError(f"{entry.name} cannot be downloaded: {'; '.join(problems)}. {kept}{entry.by_hand}")


def _unfinished(entry: Entry) -> Path:
    """Path that a file has until it is checked. gdown writes beside it, to this name, eight random characters and .part."""
    return models_folder() / ".unfinished" / entry.file


def _lock(entry: Entry) -> AbstractContextManager[object]:
    """A lock that only one process holds at a time, and that ends with the process.

    Raises:
        DownloadError: if the libraries that download are not installed.
    """
    try:
        import gdown  # noqa: F401 (here it is only looked for)
        from filelock import FileLock
    except ModuleNotFoundError as error:
        raise DownloadError(f'downloading needs {error.name}; pip install "vsedvr[models]" brings it') from error
    folder = _unfinished(entry).parent
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{entry.name}.lock")


def _download_from(url: str, entry: Entry, timeout: float, on_bytes: Callable[[int], object]) -> str:
    """Downloads the file from one address to _unfinished(entry).

    Returns:
        What went wrong, or an empty string if the file is there and right.
    """
    unfinished = _unfinished(entry)
    problem = ""
    for _ in range(ATTEMPTS):
        before = _arrived(unfinished)
        problem, goes_on = _fetch(url, entry, timeout, on_bytes)
        if not problem:
            problem = published_problem(unfinished, entry)
            if not problem:
                return ""
            problem = f"sends a file that {problem}"
            goes_on = before > 0  # what was there before may have spoilt it
            _remove(unfinished)
        if not goes_on:
            return problem
    return problem


def _fetch(url: str, entry: Entry, timeout: float, on_bytes: Callable[[int], object]) -> tuple[str, bool]:
    """Tries an address once, from where the last try ended.

    Returns:
        What went wrong, or an empty string; and whether another try at the same address may help.

    Raises:
        OSError: if the file cannot be written.
    """
    import gdown
    import requests

    unfinished = _unfinished(entry)
    before = _arrived(unfinished)

    def watch(done: int, total: int | None) -> None:
        if max(done, total or 0) > MOST * 1e6 * entry.megabytes:
            raise _TooLargeError
        on_bytes(done)

    try:
        gdown.download(url, str(unfinished), quiet=True, use_cookies=False, resume=True, timeout=timeout, progress=watch)
    except _TooLargeError:
        _remove(unfinished)
        return f"sends a file of far more than {entry.megabytes:.0f} MB", False
    except gdown.FileURLRetrievalError as error:
        return f"does not give the file now ({_shortened(error)})", False
    except gdown.DownloadError:
        if _arrived(unfinished) > before:
            return "ends the download early", True
        _remove(unfinished)  # the address cannot go on where another one, or an earlier try, ended
        return "sends no whole file", before > 0
    except requests.RequestException as error:
        return _in_words(error, timeout), _arrived(unfinished) > before
    except KeyError as error:  # gdown relies on some headers of Google Drive
        return f"sends an answer without {error}", False
    except OSError as error:
        raise OSError(error.errno, error.strerror, error.filename or str(unfinished.parent)) from error
    return "", False


class _TooLargeError(Exception):
    """Ends a download that is not of the file that was asked for."""


def _arrived(unfinished: Path) -> int:
    """Bytes of an unfinished file that have arrived."""
    return sum(path.stat().st_size for path in unfinished.parent.glob(f"{unfinished.name}*"))


def _remove(unfinished: Path) -> None:
    for path in unfinished.parent.glob(f"{unfinished.name}*"):
        path.unlink()


def _in_words(error: Exception, timeout: float) -> str:
    """An error of the connection in a few words; those of requests have addresses in memory and several lines."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.exceptions.ProxyError):
        return "cannot be reached through the proxy"
    if isinstance(error, requests.exceptions.SSLError):
        return "has a certificate that cannot be verified"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return f"sends nothing for {timeout:g} seconds"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "ends the download early"
    if isinstance(error, requests.ConnectionError):
        return "cannot be reached"
    return f"fails: {_shortened(error)}"


def _shortened(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
