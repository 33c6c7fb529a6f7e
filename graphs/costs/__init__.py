"""What an architecture costs: counted (multiply-adds, parameters) or measured (latency tables)."""

from graphs.costs.counts import Counts, count, mac_cost, parameter_cost
from graphs.costs.latency import LatencyEntry, LatencyTable, latency_cost, load_latency_table, save_latency_table
from graphs.costs.models import CostModel, QuadraticCost, RelaxedCost

__all__ = [
    "CostModel",
    "Counts",
    "LatencyEntry",
    "LatencyTable",
    "QuadraticCost",
    "RelaxedCost",
    "count",
    "latency_cost",
    "load_latency_table",
    "mac_cost",
    "parameter_cost",
    "save_latency_table",
]
