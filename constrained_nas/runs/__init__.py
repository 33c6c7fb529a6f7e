"""One run in one folder: settings.json to run.json."""

from typing import TYPE_CHECKING

from graphs.faces import on_demand

if TYPE_CHECKING:
    from constrained_nas.runs.checks import check_feasible, check_method, make_problem
    from constrained_nas.runs.families import Costs, Family, Found, Plan, Prepared, costs_of, family_named, make_space, plan_of
    from constrained_nas.runs.fingerprint import digest
    from constrained_nas.runs.finish import trained_network
    from constrained_nas.runs.latency import fit_found
    from constrained_nas.runs.network import RunNetwork, load_network
    from constrained_nas.runs.objective import contradictions, load_objective, save_objective
    from constrained_nas.runs.record import (
        CertificateRecord,
        NearbyRecord,
        NetworkRecord,
        RunRecord,
        certificate_record,
        load_run,
        network_record,
    )
    from constrained_nas.runs.run import Asked, begin_run, carry_out
    from constrained_nas.runs.settings import (
        BUDGET_NAMES,
        MethodName,
        PathPer,
        RunSettings,
        SpaceName,
        TrainingSettings,
        load_settings,
        parse_budgets,
        require_unused,
    )
    from constrained_nas.runs.setup import prepare, search_problem, train_prepared, untrained
    from constrained_nas.runs.soundness import data_remarks
    from constrained_nas.runs.verification import against_itself, check_network, run_family, trusted_run, verified_run

__getattr__ = on_demand(__name__)
