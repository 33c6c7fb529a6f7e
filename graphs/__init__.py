"""Search spaces, super-networks and their costs, on networkx and torch."""

from typing import TYPE_CHECKING

from graphs.faces import on_demand

if TYPE_CHECKING:
    from graphs.backbones import FeatureBackbone, FeatureInfo, feature_backbone
    from graphs.choices import Choice, ChoiceSpace, ChoiceSupernet, choice_space
    from graphs.filters import (
        FLOAT,
        PAPER_OPERATIONS,
        FilterLayer,
        FilterNetwork,
        FilterSpace,
        FilterTopology,
        Operation,
        filter_network,
    )
    from graphs.space import Architecture, Decision, SearchSpace
    from graphs.spaces import (
        DagSpace,
        GPUNetSettings,
        GPUNetSpace,
        GPUNetStage,
        MacroSpace,
        MBConvSettings,
        MBConvSpace,
        StageSetting,
        architecture_strings,
        convolutional_neural_fabric,
        gpunet_imagenet,
        gpunet_imagewoof,
        gpunet_small,
        hardcore_imagenet,
        hardcore_small,
        network_from_strings,
        ofa_mbv3,
        read_architecture_strings,
        resnet,
        resnet_fabric,
        resnet_filters,
        resnet_topology,
    )
    from graphs.supernet import (
        Connectivity,
        Edge,
        Layer,
        Supernet,
        add_edge,
        add_layer,
        as_multigraph,
        compile_supernet,
        validate_dag,
    )

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
    "MacroSpace",
    "Operation",
    "SearchSpace",
    "StageSetting",
    "Supernet",
    "add_edge",
    "add_layer",
    "architecture_strings",
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
    "network_from_strings",
    "ofa_mbv3",
    "read_architecture_strings",
    "resnet",
    "resnet_fabric",
    "resnet_filters",
    "resnet_topology",
    "validate_dag",
]

__getattr__ = on_demand(__name__)
