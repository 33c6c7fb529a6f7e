"""Search spaces, super-networks and their costs, on networkx and torch."""

from graphs.backbones import FeatureBackbone, FeatureInfo, feature_backbone
from graphs.choices import Choice, ChoiceSpace, ChoiceSupernet, choice_space
from graphs.connectivity import Connectivity
from graphs.dag import Edge, Layer, add_edge, add_layer, as_multigraph, validate_dag
from graphs.dag_space import DagSpace
from graphs.fabrics.cnf import convolutional_neural_fabric
from graphs.fabrics.gpunet import GPUNetSettings, GPUNetSpace, GPUNetStage, gpunet_imagenet, gpunet_imagewoof, gpunet_small
from graphs.fabrics.mbconv import MBConvSettings, MBConvSpace, StageSetting, hardcore_imagenet, hardcore_small
from graphs.fabrics.resnet import plain_resnet, resnet, resnet_fabric
from graphs.fabrics.resnet_filters import resnet_filters, resnet_topology
from graphs.filter_conversion import filter_network
from graphs.filter_network import FilterNetwork
from graphs.filters import FLOAT, PAPER_OPERATIONS, FilterLayer, FilterSpace, FilterTopology, Operation
from graphs.space import Architecture, Decision, SearchSpace
from graphs.supernet import Supernet, compile_supernet

__all__ = [
    "FLOAT",
    "PAPER_OPERATIONS",
    "Architecture",
    "Choice",
    "ChoiceSpace",
    "ChoiceSupernet",
    "Connectivity",
    "DagSpace",
    "Decision",
    "Edge",
    "FeatureBackbone",
    "FeatureInfo",
    "FilterLayer",
    "FilterNetwork",
    "FilterSpace",
    "FilterTopology",
    "GPUNetSettings",
    "GPUNetSpace",
    "GPUNetStage",
    "Layer",
    "MBConvSettings",
    "MBConvSpace",
    "Operation",
    "SearchSpace",
    "StageSetting",
    "Supernet",
    "add_edge",
    "add_layer",
    "as_multigraph",
    "choice_space",
    "compile_supernet",
    "convolutional_neural_fabric",
    "feature_backbone",
    "filter_network",
    "gpunet_imagenet",
    "gpunet_imagewoof",
    "gpunet_small",
    "hardcore_imagenet",
    "hardcore_small",
    "plain_resnet",
    "resnet",
    "resnet_fabric",
    "resnet_filters",
    "resnet_topology",
    "validate_dag",
]
