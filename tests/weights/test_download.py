"""Downloads from a server on the loopback interface, well-behaved and not; no test reaches the network."""

import errno
import hashlib
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch

from conftest import TINY, random_model
from model_server import Answer, ModelServer, announces, leads_to, model_server, says, sends, stalls
from vsedvr.weights import ZOO, load_model
from vsedvr.weights.download import ATTEMPTS, DownloadError, download
from vsedvr.weights.zoo import Entry

FILE = np.random.default_rng(0).bytes(3_000_000)
"""Longer than the pieces in which gdown keeps what arrives."""
PAGE = "<!DOCTYPE html><html><body>Please log in</body></html>"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VSEDVR_MODELS", str(tmp_path / "models"))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path / "models"


def entry(*urls: str, **changes: Any) -> Entry:
    """A model of the zoo whose file is FILE."""
    tiny = replace(
        ZOO["edvr_m_x4_reds"],
        name="tiny",
        file="TINY_official.pth",
        urls=urls,
        sha256=hashlib.sha256(FILE).hexdigest(),
        megabytes=3,
        network=TINY,
    )
    return replace(tiny, **changes)


def left_in(folder: Path) -> list[str]:
    """Names of all files in the models folder but those of locks."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


def problem_of(model: Entry, timeout: float = 30.0) -> str:
    with pytest.raises(DownloadError) as caught:
        download(model, timeout=timeout)
    message = str(caught.value)
    assert message.startswith("tiny cannot be downloaded: 127.0.0.1 ")
    assert message.endswith(
        f"By hand: download TINY_official.pth in a browser from {model.page}, then: vsedvr models import TINY_official.pth"
    )
    return message


def test_a_file_is_downloaded_once(server: ModelServer, folder: Path) -> None:
    server.answers["/a"] = sends(FILE)
    progress: list[int] = []
    model = entry(server.url("/a"))
    path = download(model, on_bytes=progress.append)
    assert path == folder / "TINY_official.pth" == model.path()
    assert path.read_bytes() == FILE
    assert progress == sorted(progress)
    assert progress[-1] == len(FILE)
    assert left_in(folder) == ["TINY_official.pth"]
    download(model)
    assert server.requests == [("/a", None)]


def test_the_first_digits_of_a_hash_suffice(server: ModelServer, folder: Path) -> None:
    server.answers["/a"] = sends(FILE)
    model = entry(server.url("/a"))
    assert download(replace(model, sha256=model.sha256[:8])).read_bytes() == FILE


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (says(404), "answers 404 Not Found"),
        (says(403, PAGE), "answers 403 Forbidden"),
        (says(500), "answers 500 Internal Server Error"),
        (says(503), "answers 503 Service Unavailable"),
        (says(200, PAGE), "sends a file that is a web page, not a checkpoint"),
        (says(200, ""), "sends a file that is empty"),
        (sends(FILE[:-1]), "sends a file that is neither a PyTorch nor a safetensors file"),
        (announces(len(FILE) + 5, FILE), "ends the download early"),
        (announces(len(FILE) - 5, FILE), "sends a file that is neither"),
        (announces(60_000_000_000, FILE), "sends a file of far more than 3 MB"),
        (sends(FILE * 5), "sends a file of far more than 3 MB"),
        (leads_to("/nowhere"), "answers 404 Not Found"),
        (leads_to("/bad"), "fails: Exceeded 30 redirects"),
    ],
    ids=["404", "403", "500", "503", "page", "empty", "other", "longer", "shorter", "huge", "large", "lost", "circle"],
)
def test_an_address_that_does_not_give_the_file_is_named_and_the_next_one_taken(
    server: ModelServer, folder: Path, bad: Answer, words: str
) -> None:
    server.answers = {"/bad": bad, "/nowhere": says(404), "/good": sends(FILE)}
    assert words in problem_of(entry(server.url("/bad")))
    assert "TINY_official.pth" not in [path.name for path in folder.iterdir()]
    assert download(entry(server.url("/bad"), server.url("/good"))).read_bytes() == FILE
    assert left_in(folder) == ["TINY_official.pth"]


def test_all_addresses_are_named_when_none_works(server: ModelServer, folder: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{nobody.getsockname()[1]}/a"
        server.answers["/a"] = says(404)
        message = problem_of(entry(closed, server.url("/a")))
    assert "127.0.0.1 cannot be reached; 127.0.0.1 answers 404 Not Found. By hand" in message
    assert left_in(folder) == []


def test_redirects_are_followed(server: ModelServer, folder: Path) -> None:
    server.answers = {"/a": leads_to("/b"), "/b": leads_to(server.url("/c")), "/c": sends(FILE)}
    assert download(entry(server.url("/a"))).read_bytes() == FILE


def test_an_address_that_stalls_is_left(server: ModelServer, folder: Path) -> None:
    server.answers["/a"] = stalls(FILE)
    assert "sends nothing for 0.5 seconds" in problem_of(entry(server.url("/a")), timeout=0.5)
    assert "TINY_official.pth" not in [path.name for path in folder.iterdir()]


class TestGoingOn:
    def test_a_broken_download_goes_on_where_it_ended(self, server: ModelServer, folder: Path) -> None:
        server.answers["/a"] = sends(FILE, first=2_000_000)
        assert download(entry(server.url("/a"))).read_bytes() == FILE
        ranges = [asked for _, asked in server.requests if asked]
        assert len(ranges) == 1
        assert 0 < int(ranges[0].removeprefix("bytes=").removesuffix("-")) <= 2_000_000

    def test_also_in_a_later_call_and_at_another_address(self, server: ModelServer, folder: Path) -> None:
        def breaks(handler: Any) -> None:
            if handler.headers.get("Range"):
                says(500)(handler)
            else:
                sends(FILE, first=2_000_000)(handler)

        server.answers["/a"] = breaks
        assert "What has arrived is kept, and another try goes on with it." in problem_of(entry(server.url("/a")))
        (part,) = left_in(folder)
        assert part.startswith("TINY_official.pth")
        server.answers["/b"] = sends(FILE)
        progress: list[int] = []
        assert download(entry(server.url("/b")), on_bytes=progress.append).read_bytes() == FILE
        assert progress[0] > 500_000
        assert left_in(folder) == ["TINY_official.pth"]

    def test_an_address_that_refuses_ranges_begins_anew(self, server: ModelServer, folder: Path) -> None:
        server.answers["/a"] = sends(FILE, ranges=False, first=2_000_000)
        assert "ends the download early" in problem_of(entry(server.url("/a")))
        assert len(server.requests) <= 2 * ATTEMPTS
        server.answers["/a"] = sends(FILE, ranges=False)
        assert download(entry(server.url("/a"))).read_bytes() == FILE

    def test_remains_of_another_file_do_not_spoil_it(self, server: ModelServer, folder: Path) -> None:
        (folder / ".unfinished").mkdir(parents=True)
        (folder / ".unfinished" / "TINY_official.pth12345678.part").write_bytes(bytes(2_000_000))
        server.answers["/a"] = sends(FILE)
        assert download(entry(server.url("/a"))).read_bytes() == FILE

    @pytest.mark.parametrize("size", [len(FILE), len(FILE) + 1000])
    def test_remains_that_are_as_long_as_the_file(self, server: ModelServer, folder: Path, size: int) -> None:
        (folder / ".unfinished").mkdir(parents=True)
        (folder / ".unfinished" / "TINY_official.pth12345678.part").write_bytes((FILE + bytes(1000))[:size])
        server.answers["/a"] = sends(FILE)
        assert download(entry(server.url("/a"))).read_bytes() == FILE

    def test_several_remains(self, server: ModelServer, folder: Path) -> None:
        (folder / ".unfinished").mkdir(parents=True)
        for name in ("TINY_official.pth12345678.part", "TINY_official.pthabcdefgh.part"):
            (folder / ".unfinished" / name).write_bytes(FILE[:1000])
        server.answers["/a"] = sends(FILE)
        assert download(entry(server.url("/a"))).read_bytes() == FILE
        assert left_in(folder) == ["TINY_official.pth"]

    def test_a_file_that_was_complete_but_not_yet_checked(self, server: ModelServer, folder: Path) -> None:
        (folder / ".unfinished").mkdir(parents=True)
        (folder / ".unfinished" / "TINY_official.pth").write_bytes(FILE)
        server.answers["/a"] = sends(FILE)
        assert download(entry(server.url("/a"))).read_bytes() == FILE

    def test_ctrl_c_leaves_no_file_under_the_final_name(self, server: ModelServer, folder: Path) -> None:
        server.answers["/a"] = sends(FILE)

        def stop(done: int) -> None:
            if done > 1_000_000:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            download(entry(server.url("/a")), on_bytes=stop)
        assert "TINY_official.pth" not in [path.name for path in folder.iterdir()]
        assert download(entry(server.url("/a"))).read_bytes() == FILE
        assert any(asked for _, asked in server.requests)


class TestFilesWithoutAHash:
    def test_must_be_the_network_of_the_table(self, server: ModelServer, folder: Path, tmp_path: Path) -> None:
        torch.save({"params": random_model().state_dict()}, tmp_path / "m.pth")
        content = (tmp_path / "m.pth").read_bytes()
        server.answers = {"/a": sends(content), "/cut": sends(content[:-500]), "/page": says(200, PAGE)}
        assert load_model(download(entry(server.url("/a"), sha256=""))).config == TINY
        (folder / "TINY_official.pth").unlink()
        other = entry(server.url("/a"), sha256="", network=replace(TINY, num_feat=16))
        assert "sends a file that holds another network than tiny has" in problem_of(other)
        assert "damaged or truncated" in problem_of(entry(server.url("/cut"), sha256=""))
        assert "is a web page" in problem_of(entry(server.url("/page"), sha256=""))
        assert left_in(folder) == []


class TestGoogleDrive:
    """Google's addresses are sent to the server of the test."""

    URL = "https://drive.google.com/uc?id=1dd6aFj-5w2v08VJTq5mS9OFsD-wALYD6"
    FORM = (
        '<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body><form id="download-form" '
        'action="https://drive.usercontent.google.com/download" method="get"><input type="submit" value="Download anyway"/>'
        '<input type="hidden" name="id" value="1dd6"><input type="hidden" name="confirm" value="t"></form></body></html>'
    )
    QUOTA = '<html><body><p class="uc-error-subcaption">Too many users have viewed or downloaded this file.</p></body></html>'

    @pytest.fixture(autouse=True)
    def _google(self, server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
        send = requests.adapters.HTTPAdapter.send

        def redirected(adapter: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            for host in ("drive.google.com", "drive.usercontent.google.com"):
                request.url = request.url.replace(f"https://{host}/", server.url("/google/"))
            return send(adapter, request, *args, **kwargs)

        monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", redirected)

    def test_a_page_of_confirmation_is_passed(self, server: ModelServer, folder: Path) -> None:
        def file(handler: Any) -> None:
            handler.head(
                200,
                Content_Type="application/octet-stream",
                Content_Disposition='attachment; filename="tiny.pth"',
                Content_Length=len(FILE),
            )
            handler.wfile.write(FILE)

        server.answers = {"/google/uc": says(200, self.FORM), "/google/download": file}
        assert download(entry(self.URL)).read_bytes() == FILE
        assert server.requests[-1][0] == "/google/download?id=1dd6&confirm=t"

    @pytest.mark.parametrize("page", [QUOTA, PAGE])
    def test_other_pages_are_no_file(self, server: ModelServer, folder: Path, page: str) -> None:
        server.answers = {"/google/uc": says(200, page), "/a": sends(FILE)}
        with pytest.raises(DownloadError, match=r"drive\.google\.com does not give the file now \(Failed to retrieve"):
            download(entry(self.URL))
        assert left_in(folder) == []
        assert download(entry(self.URL, server.url("/a"))).read_bytes() == FILE


class TestOtherTroubles:
    def test_a_model_without_an_address_is_fetched_by_hand(self, folder: Path) -> None:
        with pytest.raises(DownloadError, match=r"^tiny has no address of its own\. By hand: download TINY_official\.pth in a"):
            download(entry())

    def test_without_the_libraries_the_extra_is_named(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "gdown", None)
        with pytest.raises(DownloadError, match=r'needs gdown; pip install "vsedvr\[models\]" brings it'):
            download(entry("http://127.0.0.1:1/a"))

    def test_a_full_disk_is_no_fault_of_the_address(
        self, server: ModelServer, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.answers["/a"] = sends(FILE)

        def full(done: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with pytest.raises(OSError, match="No space left on device") as caught:
            download(entry(server.url("/a"), server.url("/a")), on_bytes=full)
        assert not isinstance(caught.value, DownloadError)
        assert caught.value.filename == str(folder / ".unfinished")
        assert len(server.requests) == 1

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("VSEDVR_MODELS", str(tmp_path / "file"))
        with pytest.raises(OSError, match="file"):
            download(entry("http://127.0.0.1:1/a"))

    def test_the_proxy_of_the_environment_is_used(
        self, server: ModelServer, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", server.url(""))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        server.answers["http://models.example/a"] = sends(FILE)
        assert download(entry("http://models.example/a")).read_bytes() == FILE


def test_two_processes_download_a_file_once(server: ModelServer, folder: Path) -> None:
    server.answers["/a"] = sends(FILE)
    code = f"""
    from dataclasses import replace
    from vsedvr.weights.download import download
    from vsedvr.weights.zoo import ZOO
    model = replace(ZOO["edvr_m_x4_reds"], name="tiny", file="TINY_official.pth", urls=({server.url("/a")!r},),
                    sha256={hashlib.sha256(FILE).hexdigest()!r}, megabytes=3)
    print(download(model))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    results = [process.communicate(timeout=120) for process in both]
    assert [out.strip() for out, _ in results] == [str(folder / "TINY_official.pth")] * 2, results
    assert (folder / "TINY_official.pth").read_bytes() == FILE
    assert server.requests == [("/a", None)]
    assert left_in(folder) == ["TINY_official.pth"]


def test_tests_cannot_reach_the_network() -> None:
    with socket.socket() as outside, pytest.raises(AssertionError, match=r"192\.0\.2\.1"):
        outside.connect(("192.0.2.1", 80))
    with pytest.raises(AssertionError, match=r"github\.com"):
        socket.getaddrinfo("github.com", 443)
