"""The packages ``solvers`` and ``graphs`` are installed beside this one; others' packages of these names would hide them."""

from importlib.util import find_spec
from pathlib import Path


def require_siblings(root: Path, names: tuple[str, ...] = ("solvers", "graphs")) -> None:
    """Refuse to go on where Python finds another package under one of ``names`` than the one in ``root``.

    Raises:
        ImportError: naming both places, and what to do.
    """
    for name in names:
        spec = find_spec(name)
        if spec is None:
            raise ImportError(f"constrained-nas needs its package {name!r} in {root}, where it is not: install it again")
        places = spec.submodule_search_locations or ["nowhere"]
        found = Path(spec.origin).parent if spec.origin else Path(next(iter(places)))
        if found.resolve() != (root / name).resolve():
            raise ImportError(
                f"{name!r} is a package of constrained-nas, in {root / name}, but Python finds another one in {found}: "
                f"rename that one, or put {root} before it on PYTHONPATH"
            )
