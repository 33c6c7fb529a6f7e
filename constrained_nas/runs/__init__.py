"""One run in one folder: settings.json to run.json."""

from constrained_nas.runs.costs import cheapest_network, costs_of, largest_network, make_problem
from constrained_nas.runs.finish import trained_network
from constrained_nas.runs.limits import parse_limits
from constrained_nas.runs.methods import Found, refuse_impossible, refuse_method, search_problem
from constrained_nas.runs.network import RunNetwork, load_network
from constrained_nas.runs.record import CertificateRecord, NetworkRecord, RunRecord, certificate_record, load_run, network_record
from constrained_nas.runs.run import begin_run, carry_out
from constrained_nas.runs.settings import MethodName, RunSettings, load_settings, parse_budgets, plan_of, resolved
from constrained_nas.runs.setup import Prepared, prepare, train_prepared, untrained
from constrained_nas.runs.spaces import RunSpace, SpaceName, decisions_of, family_of, make_space
