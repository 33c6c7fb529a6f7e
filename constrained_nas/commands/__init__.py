"""One sub-command a file; the only room that prints."""

from typing import TYPE_CHECKING

from graphs.faces import on_demand

if TYPE_CHECKING:
    from constrained_nas.commands.cli import main
    from constrained_nas.commands.profile import ProfileClock, make_timer

__getattr__ = on_demand(__name__)
