"""What a user's own Python file builds: ``mynet.py:build``. The file is run, as the user's own code."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SEPARATOR = ".py:"


def is_own(name: str) -> bool:
    """Whether a name is ``FILE.py:CALLABLE``."""
    return SEPARATOR in name


def own_title(name: str) -> str:
    """What to call what ``FILE.py:CALLABLE`` builds: ``FILE-CALLABLE``."""
    file, _, called = name.rpartition(":")
    return f"{Path(file).stem}-{called}"


def require_elsewhere(name: str, folder: Path) -> None:
    """Check that the file of ``FILE.py:CALLABLE`` is no part of ``folder``: what came with a folder is never run.

    Raises:
        ValueError: it lies in the folder, or is named from wherever the program happens to be started.
    """
    file = Path(name.rpartition(":")[0])
    if not file.is_absolute() or file.resolve().is_relative_to(folder.resolve()):
        where = "lies in it" if file.is_absolute() else "is named without its whole path"
        raise ValueError(f"{folder}: code that may have come with a run is not run, and {file} {where}: keep yours elsewhere")


def own_callable(name: str) -> Callable[..., Any]:
    """The callable of ``FILE.py:CALLABLE``; the file is run once a process.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file fails, or has no callable of that name.
    """
    file, _, called = name.rpartition(":")
    path = Path(file).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    module = _loaded(path, file)
    found = getattr(module, called, None)
    if not callable(found):
        there = [key for key, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == module.__name__]
        raise ValueError(f"{file} has no callable {called!r}; it has {', '.join(there) or 'none'}")
    return found


def own_built(name: str, **offered: int) -> Any:
    """What the callable returns, given those of ``offered`` (classes, channels, resolution) that it takes.

    Raises:
        FileNotFoundError, ValueError: as :func:`own_callable`; or the callable fails.
    """
    build = own_callable(name)
    parameters = inspect.signature(build).parameters.values()
    everything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    taken = {parameter.name for parameter in parameters}
    try:
        return build(**{key: value for key, value in offered.items() if everything or key in taken})
    except (Exception, SystemExit) as error:  # whatever it is, it is the user's own
        raise ValueError(f"{name} failed: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _loaded(path: Path, told: str) -> Any:
    name = f"own_{path.stem}"
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{told}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that the source of its classes is found when they are exported
    sys.path.insert(0, str(path.parent))  # and it may import its neighbours
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a file that ends the program would end it without a word
        sys.modules.pop(name)
        raise ValueError(f"{told} failed: {type(error).__name__}: {' '.join(str(error).split())}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module
