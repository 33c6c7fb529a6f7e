"""One run by several processes: the first writes to the run's folder, the others work in copies in it that go when they end.

So nothing that writes need know how many processes there are, and every process resumes from what the first had kept.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lightning_fabric import Fabric

from constrained_nas.training import Stopped, make_fabric, process_count
from graphs.files import own_folder
from graphs.folder_lock import owned

Done = TypeVar("Done")
_COPY = ".process-"  # inside the run's folder: of a process that was killed somebody has to find it


@dataclass(frozen=True, slots=True, eq=False)
class Together:
    """This process among those of a run.

    Attributes:
        fabric: that joins them; None where there is one.
        run: the folder of the run.
        own: the folder that this process works in: that of the run for the first, else a copy.
    """

    fabric: Fabric | None
    run: Path
    own: Path

    def first_does(self, work: Callable[[], Done], file: str) -> Done:
        """What the first process works out, and leaves in ``file``; the others then do the same with that file in their folder."""
        if self.fabric is None:
            return work()
        if self.fabric.is_global_zero:
            done = work()
            self.fabric.barrier()
            return done
        self.fabric.barrier()
        if (self.run / file).exists():
            shutil.copy(self.run / file, self.own / file)
        return work()


@contextmanager
def working_folder(folder: Path, device: str, first: Callable[[], None]) -> Iterator[Together]:
    """Hold the folder of a run inside the block, and give every process but the first a copy.

    Args:
        device: that the run computes on.
        first: what the first process alone does before the copies are made.

    Raises:
        BlockingIOError: another run holds the folder.
    """
    if process_count() == 1:
        with owned(folder):
            _remove_copies(folder)
            first()
            yield Together(None, folder, folder)
        return
    fabric = make_fabric(device)
    try:
        if fabric.is_global_zero:
            with owned(folder):
                _remove_copies(folder)
                first()
                fabric.barrier()
                fabric.barrier()
                yield Together(fabric, folder, folder)
        else:
            fabric.barrier()
            with tempfile.TemporaryDirectory(prefix=_COPY, dir=folder) as made:
                own = Path(made)
                for path in folder.iterdir():
                    if path.is_file() and not path.name.startswith("."):
                        shutil.copy(path, own)
                for path in (folder / "checkpoints").iterdir():
                    if path.is_file() and not path.name.startswith("."):
                        shutil.copy(path, own_folder(own, "checkpoints"))
                own_folder(own, "checkpoints")
                fabric.barrier()
                yield Together(fabric, folder, own)
    except Stopped:
        fabric.barrier()  # whoever ends first has the others killed: all have kept where they are
        raise


def _remove_copies(folder: Path) -> None:
    """Remove what processes that were killed left behind."""
    for copy in folder.glob(f"{_COPY}*"):
        if copy.is_symlink() or not copy.is_dir():
            copy.unlink()
        else:
            shutil.rmtree(copy)
