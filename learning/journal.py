"""The folder of a model in service: open in one session at a time, and a journal of what is deleted between two saves.

A deletion is a line of the journal, on disk before the weights change. The line names the generation of the session's
file that it follows: what a later file holds already is not deleted twice, and an older file is not taken for a newer.
"""

import json
import os
import weakref
import zlib
from pathlib import Path

from unlearning.errors import DamagedState, PlanError

_LOCK, _JOURNAL = "lock", "journal"


class SessionFolder:
    """A folder held by one session until it is closed, or its process ends in whatever way."""

    def __init__(self, folder: Path) -> None:
        """Hold the folder.

        Args:
            folder: made if it does not exist.

        Raises:
            PlanError: another session holds it.
        """
        import fcntl  # POSIX alone has it, and a folder in service is all that needs it

        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise PlanError(
                f"folder must be open in one session at a time, and another one holds {folder}. Close that session, or "
                "end its process."
            ) from None
        self._close = weakref.finalize(self, os.close, descriptor)
        self._end: int | None = None

    def close(self) -> None:
        """Let another session open the folder."""
        self._close()

    def check_open(self) -> None:
        """Refuse a folder that is held no longer.

        Raises:
            ValueError: the session was closed.
        """
        if not self._close.alive:
            raise ValueError(f"The session in {self.folder} is closed. Load it from there again.")

    def append(self, generation: int, records: list[int]) -> None:
        """Put one deletion on disk, or raise and leave the journal as it was.

        Raises:
            ValueError: the session was closed.
            OSError: the disk takes no more.
        """
        self.check_open()
        said = json.dumps({"generation": generation, "deleted": records}).encode()
        with (self.folder / _JOURNAL).open("r+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END) if self._end is None else file.seek(self._end)
            file.truncate(end)
            try:
                line = b"%08x %s\n" % (zlib.crc32(said), said)
                if file.write(line) < len(line):
                    raise OSError(f"{self.folder / _JOURNAL} could not be written: the disk is full.")
                os.fsync(file.fileno())
            except BaseException:
                self._end = end  # a line that was not finished is cut off now, or by the next one
                file.truncate(end)
                raise
            self._end = end + len(line)

    def pending(self, generation: int) -> list[list[int]]:
        """Deletions that the session's file of this generation does not hold; a torn last line never happened.

        Raises:
            DamagedState: the journal is gone or damaged, or follows a later file.
        """
        path = self.folder / _JOURNAL
        if not path.is_file():
            raise DamagedState(f"{path} must be the journal of this session's deletions, got nothing. Retrain.")
        data = path.read_bytes()
        *lines, torn = data.split(b"\n")
        self._end = len(data) - len(torn)
        found = []
        for number, line in enumerate(lines, 1):
            checksum, _, said = line.partition(b" ")
            if checksum != b"%08x" % zlib.crc32(said):
                raise DamagedState(
                    f"{path} is damaged: the checksum of line {number} does not match. Retrain without the records "
                    "that were deleted."
                )
            entry = json.loads(said)
            if entry["generation"] > generation:
                raise DamagedState(
                    f"{self.folder} is damaged: its session file is number {generation}, and its journal follows "
                    f"number {entry['generation']}. Retrain: an older file forgets deletions and releases."
                )
            if entry["generation"] == generation:
                found.append([int(record) for record in entry["deleted"]])
        return found

    def clear(self) -> None:
        """Empty the journal, after the session's file that holds it all is on disk."""
        with (self.folder / _JOURNAL).open("wb") as file:
            os.fsync(file.fileno())
        self._end = 0
