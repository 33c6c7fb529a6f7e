"""What was found, said and drawn."""

from typing import TYPE_CHECKING

from graphs.faces import on_demand

if TYPE_CHECKING:
    from constrained_nas.reports.comparison import Comparison, compare_runs, save_comparison
    from constrained_nas.reports.front import FrontPoint, draw_front
    from constrained_nas.reports.networks import draw_super_network, save_picture, staged_positions
    from constrained_nas.reports.report import write_report
    from constrained_nas.reports.tensorboard import EventsOfCurves
    from constrained_nas.reports.validation import draw_validation
    from constrained_nas.reports.words import certificate_sentence, plain_number, verdict, with_unit

__getattr__ = on_demand(__name__)
