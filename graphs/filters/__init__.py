"""Networks whose filters have operations or widths."""

from graphs.filters.conversion import filter_network
from graphs.filters.layers import FRESH, PaddedShortcut, SwitchableNorm
from graphs.filters.network import FilterNetwork
from graphs.filters.quantization import FLOAT_BITS, fake_quantize_weights, weight_range, weight_steps
from graphs.filters.space import FLOAT, PAPER_OPERATIONS, FilterLayer, FilterSpace, FilterTopology, Operation
