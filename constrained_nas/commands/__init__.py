"""One sub-command a file; the only room that prints."""

from constrained_nas.commands.shown import ProfileClock, make_timer
