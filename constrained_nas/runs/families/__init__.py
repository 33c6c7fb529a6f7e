"""Search spaces as runs see them: one object a family, with all that depends on the kind of space."""

from typing import TYPE_CHECKING

from graphs.faces import on_demand

if TYPE_CHECKING:
    from constrained_nas.runs.families.choices import ChoiceFamily
    from constrained_nas.runs.families.dag import DagFamily
    from constrained_nas.runs.families.family import Costs, Family, Found, Plan, Prepared, RunTable, Saved, costs_of
    from constrained_nas.runs.families.gpunet import GPUNetFamily
    from constrained_nas.runs.families.hardcore import HardCoReFamily
    from constrained_nas.runs.families.named import FAMILIES, family_named, make_space, plan_of
    from constrained_nas.runs.families.option_latencies import measure_option_table, validate_option_table
    from constrained_nas.runs.families.timed_parts import choice_parts, dag_parts, filter_parts

__getattr__ = on_demand(__name__)
