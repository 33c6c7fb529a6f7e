"""What an architecture costs: counted (multiply-adds, parameters, steps), measured (latency tables), or any Python function."""

from graphs.costs.bit_operations import BitOperations, Linearization, MemoryTraffic
from graphs.costs.callables import CallableCost, connected_architecture, switches_of
from graphs.costs.choices import choice_cost, choice_latency, choice_macs, choice_parameters
from graphs.costs.conditions import TableConditions, require_conditions
from graphs.costs.connected import (
    ConnectedCost,
    SubgraphCost,
    connected_latency,
    connected_macs,
    connected_parameters,
    module_entries,
)
from graphs.costs.counts import Counts, count, mac_cost, parameter_cost
from graphs.costs.latency import (
    LatencyEntry,
    LatencyTable,
    PredictionEvidence,
    ReferenceLatency,
    latency_cost,
    load_energy_table,
    load_latency_table,
)
from graphs.costs.makespan import MakespanCost, Task, makespan_cost
from graphs.costs.memory import block_memory, choice_memory, peak_activations
from graphs.costs.models import CostModel, PeakCost, QuadraticCost, RelaxedCost
from graphs.costs.slimmable import FULL, HALF, SlimmableLatency, SlimmableMacs, half_widths, slimmable_latency
from graphs.costs.width_counts import width_count_cost
from graphs.costs.width_latency import (
    BlockKey,
    Device,
    Measured,
    WidthLatencyTable,
    layer_latencies,
    load_width_latency_table,
    tabulate_widths,
    width_latency_cost,
)

__all__ = [
    "FULL",
    "HALF",
    "BitOperations",
    "BlockKey",
    "CallableCost",
    "ConnectedCost",
    "CostModel",
    "Counts",
    "Device",
    "LatencyEntry",
    "LatencyTable",
    "Linearization",
    "MakespanCost",
    "Measured",
    "MemoryTraffic",
    "PeakCost",
    "PredictionEvidence",
    "QuadraticCost",
    "ReferenceLatency",
    "RelaxedCost",
    "SlimmableLatency",
    "SlimmableMacs",
    "SubgraphCost",
    "TableConditions",
    "Task",
    "WidthLatencyTable",
    "block_memory",
    "choice_cost",
    "choice_latency",
    "choice_macs",
    "choice_memory",
    "choice_parameters",
    "connected_architecture",
    "connected_latency",
    "connected_macs",
    "connected_parameters",
    "count",
    "half_widths",
    "latency_cost",
    "layer_latencies",
    "load_energy_table",
    "load_latency_table",
    "load_width_latency_table",
    "mac_cost",
    "makespan_cost",
    "module_entries",
    "parameter_cost",
    "peak_activations",
    "require_conditions",
    "slimmable_latency",
    "switches_of",
    "tabulate_widths",
    "width_count_cost",
    "width_latency_cost",
]
