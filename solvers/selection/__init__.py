"""The front door: what a user types, and what may be asked about its answer."""

from solvers.selection.alternatives import best_selections
from solvers.selection.batches import Selections, project_many
from solvers.selection.cheapest import CostCertificate, minimize_cost
from solvers.selection.project import project_to_budget
from solvers.selection.robust import RobustCertificate, project_robustly
from solvers.selection.selection import Selection
from solvers.selection.sensitivity import Frontier, ShadowPrice, frontier, shadow_prices
from solvers.selection.unneeded import Unneeded, unneeded_options
from solvers.selection.verification import SelectionCertificate, verify_selection
