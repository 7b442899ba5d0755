"""Runs segments as tasks of dask.distributed, which gives a task to another worker if the first one dies.

This is the only module that imports dask.distributed. The module team keeps track of workers and what they know of a job;
the module worker has the functions that workers run.
"""

import asyncio
import logging
import multiprocessing
import queue
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, Reschedule, WorkerPlugin, get_worker
from distributed.comm.core import CommClosedError

from vsedvr.restore import worker

__all__ = ["Cluster", "Joined", "joined", "started"]

TOPIC = "vsedvr"
"""Topic of the events by which workers report their progress."""
OWN_CLUSTER = {
    # A segment whose workers died twice is given up
    "distributed.scheduler.allowed-failures": 1,
    # With Dask's malloc setting every tensor's memory goes back to the system: restoring then took 1.6 times the CPU time
    "distributed.nanny.pre-spawn-environ": {"MALLOC_TRIM_THRESHOLD_": None},
}
"""Dask's settings for worker processes on this machine."""
DASK_LOGGERS = ("distributed", "tornado.application")
"""Names of the loggers of Dask and of its event loop."""
SECONDS_TO_CONNECT = 15
"""Seconds to wait until a scheduler answers."""
SECONDS_FOR_THE_FIRST = 60
"""Seconds to wait for a cluster's first worker."""
SECONDS_TO_START = 300
"""Seconds that worker processes on this machine get to start."""
SECONDS_TO_CLOSE = 15
"""Seconds that worker processes on this machine get to end by themselves before they are killed."""
SECONDS_FOR_THE_ORDER = 60
"""Seconds that a task waits on a worker that has just joined and has no order yet, before another worker may take it."""


@contextmanager
def started(count: int) -> Iterator["Cluster"]:
    """Starts a cluster of worker processes on this machine, which end with the block. Their names are numbers from 0.

    Args:
        count: number of processes.

    Raises:
        ChildProcessError: if they do not start.
    """
    with (
        _quiet(),
        dask.config.set(OWN_CLUSTER),
        TemporaryDirectory(prefix="vsedvr-", ignore_cleanup_errors=True) as folder,
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            memory_limit=0,  # the engines keep to their share of the memory
            dashboard_address="127.0.0.1:0",  # None means a port that may be taken
            local_directory=folder,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        _closing(cluster),
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(_NoInterrupts())
        try:
            client.wait_for_workers(count, timeout=SECONDS_TO_START)
        except TimeoutError as error:
            raise ChildProcessError(
                f"{count} processes did not start within {SECONDS_TO_START} seconds; try fewer (--jobs)"
            ) from error
        yield Cluster(client, "this machine")


@contextmanager
def joined(address: str) -> Iterator["Cluster"]:
    """Connects to a cluster that somebody has started, and waits for its first worker.

    Args:
        address: address of the scheduler, such as "tcp://192.168.1.2:8786".

    Raises:
        ConnectionError: if no scheduler answers at the address, or no worker joins it within a minute.
    """
    with _quiet(), _connected(address) as client:
        try:
            client.wait_for_workers(1, timeout=SECONDS_FOR_THE_FIRST)
        except TimeoutError as error:
            raise ConnectionError(
                f"no worker joined the cluster at {address} within {SECONDS_FOR_THE_FIRST} seconds; "
                f"`dask worker {address} --nthreads 1 --no-nanny --memory-limit 0` starts one"
            ) from error
        yield Cluster(client, address)


def _connected(address: str) -> Client:
    try:
        return Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ConnectionError(f"no cluster answers at {address}; `dask scheduler` starts one and says its address") from error


class Joined(NamedTuple):
    """Identity of a worker. A worker that is restarted may have the same address as before, but never the same folder."""

    name: str
    folder: str


class Cluster:
    """A connection to a dask.distributed cluster, with the few operations that restoring needs."""

    def __init__(self, client: Client, address: str) -> None:
        self.client = client
        self.address = address

    def workers(self) -> dict[str, Joined]:
        """Returns the usable workers by address: only those that declare a GPU, if there are any, else all."""
        return {address: Joined(str(info["name"]), info["local_directory"]) for address, info in self._workers().items()}

    def ask(self, addresses: Sequence[str], function: str, *args: Any) -> dict[str, Any]:
        """Calls a function of vsedvr.restore.worker in some workers.

        Args:
            addresses: addresses of the workers.
            function: name of the function.
            args: its arguments.

        Returns:
            Results by address. Workers that leave meanwhile are missing.

        Raises:
            ValueError: if the function fails in a worker; the message names the worker.
            ConnectionError: if the connection to the cluster is lost.
        """
        if not addresses:
            return {}
        with self._connection():
            answers = self.client.run(_call, function, *args, workers=list(addresses), on_error="return")
        for address, answer in answers.items():
            if isinstance(answer, ModuleNotFoundError):
                raise ValueError(f'worker {address} lacks {answer.name}; pip install "vsedvr[restore]" there') from answer
            if isinstance(answer, _Failure):
                raise ValueError(f"worker {address}: {answer.reason}")
        return {address: answer for address, answer in answers.items() if not isinstance(answer, Exception)}

    def restore(
        self,
        id: str,
        segments: Mapping[int, range],
        meet: Callable[[], int],
        on_frames: Callable[[int, int], None],
        on_segment: Callable[[int, bytes | None], None],
    ) -> None:
        """Restores segments, as many at a time as there are workers.

        Args:
            id: id of the order that workers have.
            segments: frame numbers of each segment, by the segment's number.
            meet: called again and again; gives the order to new workers and returns the number of workers.
            on_frames: called with a segment's number and how many of its frames are done.
            on_segment: called when a segment is done, with its number, and with the content of its file if the worker could not
                write it to the job's folder itself.

        Raises:
            ChildProcessError: if a segment is given up, because its workers died.
            ConnectionError: if the connection to the cluster is lost.
            ValueError, OSError: as raised by restore_segment.
        """
        news: queue.Queue[Any] = queue.Queue()
        running: dict[Future[Any], int] = {}
        waiting = sorted(segments, reverse=True)
        self.client.subscribe_topic(TOPIC, lambda event: news.put(event[1]))
        try:
            while waiting or running:
                free = meet() - len(running)
                for number in [waiting.pop() for _ in range(min(free, len(waiting)))]:
                    future = self._submit(id, number)
                    running[future] = number
                    # Fetched in another thread: if the worker dies with the result, another worker makes it again, but only
                    # when `meet` has given it the order
                    future.add_done_callback(lambda future: news.put(_fetched(future)))
                for event in _within_a_second(news):
                    if isinstance(event, _Fetched):
                        number = running.pop(event.future)
                        on_segment(number, self._content(event, number, segments[number]))
                    elif event[0] == id and event[1] in running.values():
                        on_frames(*event[1:])
        finally:
            with suppress(OSError, CancelledError):
                self.client.cancel(list(running))
                self.client.unsubscribe_topic(TOPIC)

    def _submit(self, id: str, number: int) -> Future[Any]:
        has_cards = any(info["resources"].get("GPU") for info in self._workers().values())
        return self.client.submit(
            _restore, id, number, key=f"segment {number} of {id}", resources={"GPU": 1} if has_cards else None, pure=False
        )

    def _content(self, fetched: "_Fetched", number: int, part: range) -> bytes | None:
        with self._connection():
            if isinstance(fetched.result, KilledWorker):
                error = fetched.result
                raise ChildProcessError(
                    f"segment {number} (frames {part.start} to {part.stop - 1}) is given up: {error.allowed_failures + 1} "
                    f"workers died over it, the last one {error.last_worker.address}. Where memory was too small, fewer "
                    "processes help (--jobs), or smaller tiles (--tile). What is done is kept, and the same command goes on"
                ) from error
            if isinstance(fetched.result, BaseException):
                raise fetched.result
            fetched.future.release()
            return fetched.result

    def _workers(self) -> dict[str, dict[str, Any]]:
        with self._connection():
            workers: dict[str, dict[str, Any]] = dict(self.client.scheduler_info(n_workers=-1)["workers"])
        return {address: info for address, info in workers.items() if info["resources"].get("GPU")} or workers

    @contextmanager
    def _connection(self) -> Iterator[None]:
        try:
            yield
        except (CommClosedError, CancelledError) as error:
            raise ConnectionError(f"the cluster of {self.address} is gone; the same command goes on") from error


class _Fetched(NamedTuple):
    """A task that has ended, with its result."""

    future: Future[Any]
    result: bytes | BaseException | None
    """Content of the segment's file, None if the worker has written the file, or the error that ended the task."""


def _fetched(future: Future[Any]) -> _Fetched:
    """Fetches the result of a task from its worker. Waits while another worker makes it again."""
    try:
        return _Fetched(future, future.result())
    except BaseException as error:  # Dask raises CancelledError, which is no Exception in asyncio
        return _Fetched(future, error)


class _NoInterrupts(WorkerPlugin):
    """Makes worker processes ignore Ctrl-C, which reaches all processes of a terminal; the main process ends them."""

    def setup(self, worker: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@dataclass(frozen=True)
class _Failure:
    """Answer of a worker in which the called function failed. (An exception as answer means a lost connection.)"""

    reason: str


async def _call(function: str, *args: Any, dask_worker: Any) -> Any:
    """Calls a function of the module worker, in a thread, so that the worker's event loop still answers the scheduler."""
    keeps_files = function in ("accept", "receive", "finish")
    folder = [Path(dask_worker.local_directory)] if keeps_files else []
    try:
        return await asyncio.to_thread(getattr(worker, function), *args, *folder)
    except Exception as error:
        return _Failure(str(error) or type(error).__name__)


def _restore(id: str, number: int) -> bytes | None:
    """Restores a segment as a Dask task, and reports progress as events."""
    dask_worker = get_worker()

    def tell(frames: int) -> None:
        dask_worker.log_event(TOPIC, (id, number, frames))

    try:
        return worker.restore(id, number, SECONDS_FOR_THE_ORDER, tell)
    except worker.NoOrderError as error:
        raise Reschedule from error


@contextmanager
def _closing(cluster: LocalCluster) -> Iterator[None]:
    """Closes a cluster at the end of the block. Kills processes that do not end when Dask asks, because they just start."""
    try:
        yield
    finally:
        with suppress(TimeoutError):
            cluster.close(timeout=SECONDS_TO_CLOSE)
        for process in multiprocessing.active_children():
            if process.name.startswith("Dask Worker"):
                process.kill()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences log messages of Dask and its event loop within the block; failures that matter are raised as errors.

    After Ctrl-C, for example, Dask now and then calls back into a client that is closed already.
    """
    before = {name: logging.getLogger(name).level for name in DASK_LOGGERS}
    for name in before:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _within_a_second(news: "queue.Queue[Any]") -> Iterator[Any]:
    """Yields all new items as soon as there are any; yields nothing if there are none for a second."""
    with suppress(queue.Empty):
        yield news.get(timeout=1)
        while True:
            yield news.get_nowait()
