"""A graph of modules made to run under gates, narrowed, and extracted."""

from graphs.supernet.connectivity import Connectivity
from graphs.supernet.dag import Edge, EdgeKey, Layer, add_edge, add_layer, as_multigraph, edge_of, layer_of, validate_dag
from graphs.supernet.extraction import ExtractedNetwork
from graphs.supernet.removal import remove_options
from graphs.supernet.supernet import Disconnected, Rows, Supernet, compile_supernet
