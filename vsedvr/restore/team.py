"""The workers that restore a film together: processes of this machine, or of a cluster.

A worker is prepared before it begins: it reports its versions and device, gets the order and its share of the machine, gets the
files that it cannot see, and checks that it has the right ones. Workers may join and leave at any time.
"""

import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import torch

from vsedvr.atomic import write_whole
from vsedvr.restore.cluster import Cluster, Joined, joined, started
from vsedvr.restore.job import Job, model_file, versions
from vsedvr.restore.pictures import picture_files
from vsedvr.restore.settings import RestoreSettings, Workers, device_indices
from vsedvr.restore.tiles import Room
from vsedvr.restore.worker import Order, Station, WorkerFacts

__all__ = ["Team", "gathered"]

CHUNK = 16 << 20
"""Size in bytes of the pieces in which files are sent."""


@contextmanager
def gathered(workers: Workers, settings: RestoreSettings) -> Iterator["Team"]:
    """Starts or connects to the workers. Processes of this machine end with the block.

    Raises:
        ValueError: if one of them cannot restore with these settings; the message names it.
        ConnectionError: if there is no cluster at the address, or it has no workers.
    """
    devices = [None if index is None else str(index) for index in device_indices(settings.device)]
    if workers.cluster is None:
        with started(workers.local(len(devices))) as cluster:
            yield Team(cluster, devices, settings.precision, cores=torch.get_num_threads(), ship=False)
    else:
        if len(devices) > 1:
            raise ValueError(f"device {settings.device} is for this machine; in a cluster each worker has one device")
        with joined(workers.cluster) as cluster:
            yield Team(cluster, devices, settings.precision, cores=None, ship=workers.ship)


class Team:
    """The workers of a cluster, and what each knows of a job."""

    def __init__(
        self, cluster: Cluster, devices: Sequence[str | None], precision: str | None, cores: int | None, ship: bool
    ) -> None:
        """
        Args:
            cluster: connection to the workers.
            devices: devices of this machine that the workers share, as device_indices gives them; [None] lets workers choose.
            precision: precision, as in RestoreSettings.
            cores: number of CPU cores that all workers share; None if each worker's machine uses its own.
            ship: whether to send the input and the models to workers.
        """
        self.cluster = cluster
        self.devices = devices
        self.precision = precision
        self.cores = cores
        self.ship = ship
        self.workers: dict[str, Joined] = {}
        self.reports: dict[str, WorkerFacts] = {}
        """Facts that workers reported about themselves, by address."""
        self.welcome: set[str] = set()
        """Addresses of workers that have the order and all that they need for it."""
        self._look()

    def rooms(self) -> list[Room]:
        """Returns device and memory of each worker, with memory divided among workers that share a device."""
        shared = self._workers_on_devices()
        return [replace(r.room, budget=r.room.budget // shared[r.machine, r.card]) for r in self.reports.values()]

    def restore(
        self,
        job: Job,
        missing: Sequence[int],
        on_begin: Callable[[], None],
        on_frames: Callable[[int, int], None],
        on_wait: Callable[[], None],
    ) -> None:
        """Restores segments of a job. If all workers leave, it waits for others to join.

        Args:
            job: job that is written in its folder.
            missing: numbers of the segments to restore.
            on_begin: called when the workers have all that they need.
            on_frames: called with the number of a segment and how many of its frames are done.
            on_wait: called again and again while there is no worker.

        Raises:
            ValueError: if a worker lacks the input or a model, or a frame is damaged; the message names it.
            ChildProcessError: if a segment is given up, because its workers died.
            OSError: if a file cannot be read or written, or the connection to the cluster is lost.
        """

        def on_segment(number: int, content: bytes | None) -> None:
            if content is not None:
                write_whole(job.path(number), content)
            on_frames(number, len(job.segments[number]))

        def meet() -> int:
            self._look()
            self._welcome(order, job)
            if not self.welcome:
                on_wait()
            return len(self.welcome)

        order = _order(job, self.ship)
        token = job.folder / order.token
        token.touch()
        try:
            meet()
            on_begin()
            self.cluster.restore(order.id, {number: job.segments[number] for number in missing}, meet, on_frames, on_segment)
        finally:
            token.unlink(missing_ok=True)
            with suppress(ValueError, OSError):
                self.cluster.ask(list(self.welcome & set(self.cluster.workers())), "finish", order.id)

    def _look(self) -> None:
        """Asks new workers for their facts, and forgets workers that have left."""
        known, self.workers = self.workers, self.cluster.workers()
        same = {address for address, worker in self.workers.items() if known.get(address) == worker}
        self.reports = {address: report for address, report in self.reports.items() if address in same}
        self.welcome &= same
        for address in [address for address in self.workers if address not in self.reports]:
            self.reports |= self.cluster.ask([address], "look", self._device(address), self.precision)
            self._compare(address)

    def _compare(self, address: str) -> None:
        """Refuses a worker whose versions, kind of device or precision differ, because its frames would differ too."""
        report = self.reports.get(address)
        if report is None:
            return
        for name, here in versions().items():
            if report.versions[name] != here:
                raise ValueError(f"worker {address} has {name} {report.versions[name]}, here it is {here}; install the same")
        first = next(iter(self.reports))
        kinds = {a: f"{self.reports[a].room.device} in {self.reports[a].room.precision}" for a in (address, first)}
        if kinds[address] != kinds[first]:
            raise ValueError(
                f"worker {address} restores on {kinds[address]}, worker {first} on {kinds[first]}; segments of two kinds would "
                "show. Use workers of one kind, or set the same for all (--device cpu)"
            )

    def _welcome(self, order: Order, job: Job) -> None:
        """Gives the order to workers that do not have it yet, and sends them the files that they need."""
        new = [address for address in self.reports if address not in self.welcome]
        sees_parts: dict[str, bool] = {}
        for address in new:
            sees_parts |= self.cluster.ask([address], "accept", order, self._station(address))
        if self.ship:
            self._send(order, _shipped(job, order), list(sees_parts))
        index = {path.name: path for path in sorted(job.folder.glob(f"{job.index.name}*"))}
        self._send(order, index, [address for address, sees in sees_parts.items() if not sees])
        self.welcome |= set(self.cluster.ask(list(sees_parts), "check", order.id))

    def _send(self, order: Order, files: Mapping[str, Path], addresses: Sequence[str]) -> None:
        for name, path in files.items() if addresses else ():
            with open(path, "rb") as file:
                while content := file.read(CHUNK):
                    self.cluster.ask(addresses, "receive", order.id, name, content)

    def _station(self, address: str) -> Station:
        report = self.reports[address]
        on_machine = Counter(other.machine for other in self.reports.values())[report.machine]
        on_device = self._workers_on_devices()[report.machine, report.card]
        return Station(self._device(address), self.cores, on_machine, on_device)

    def _workers_on_devices(self) -> Counter[tuple[str, str]]:
        """Counts the workers that share each machine's CPU or GPU, by (machine, GPU)."""
        return Counter((report.machine, report.card) for report in self.reports.values())

    def _device(self, address: str) -> str | None:
        """Returns the device of a worker. If there are several, workers, whose names are numbers, take them in turn."""
        return self.devices[int(self.workers[address].name) % len(self.devices)] if len(self.devices) > 1 else self.devices[0]


def _order(job: Job, ship: bool) -> Order:
    begun = json.loads((job.folder / "job.json").read_text())
    files = [(model, model_file(model)) for model in job.settings.models]
    id = secrets.token_hex(8)
    return Order(
        id=id,
        folder=str(job.folder.absolute()),
        token=f".cluster.{id}.part",  # files with such names are removed if this process is killed
        begun=json.dumps({**begun, **job.json()}),
        models=[str(file.absolute()) if file else model for model, file in files],
        ship=ship,
    )


def _shipped(job: Job, order: Order) -> dict[str, Path]:
    """Returns the files of the input and of the models, by the names that they get in a worker's folder.

    Raises:
        ValueError: if the input is a script, which may read any files.
    """
    source = Path(job.source.path)
    if job.source.kind == "script":
        raise ValueError(
            f"{source} is a script, which may read any files; it cannot be sent (--ship). Put it and its files where all "
            "workers see them"
        )
    pictures = picture_files(source) if job.source.kind == "pictures" else []
    files = {f"input/{source.name}/{file.name}": file for file in pictures} or {f"input/{source.name}": source}
    models = [(k, Path(model)) for k, model in enumerate(order.models) if Path(model).is_file()]
    return files | {f"model{k}/{path.name}": path for k, path in models}
