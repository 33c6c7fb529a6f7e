"""One published search space a file."""

from graphs.spaces.block_strings import architecture_strings, network_from_strings, read_architecture_strings
from graphs.spaces.cnf import convolutional_neural_fabric
from graphs.spaces.dag_space import DagSpace
from graphs.spaces.gpunet import GPUNetSettings, GPUNetSpace, GPUNetStage
from graphs.spaces.gpunet_releases import GPUNET_COUNTS, GPUNETS, gpunet
from graphs.spaces.gpunet_spaces import gpunet_cifar, gpunet_imagenet, gpunet_imagewoof, gpunet_small
from graphs.spaces.hardcore_releases import HARDCORE_NETWORKS, hardcore_network
from graphs.spaces.macro import MacroSpace
from graphs.spaces.mbconv import (
    BlockShape,
    MBConvSettings,
    MBConvSpace,
    StageSetting,
    hardcore_imagenet,
    hardcore_small,
    ofa_mbv3,
)
from graphs.spaces.published import published_dag
from graphs.spaces.resnet import plain_resnet, resnet, resnet_fabric
from graphs.spaces.resnet_filters import Shortcut, resnet_filters, resnet_topology
from graphs.spaces.timm_family import TimmSettings, timm_network, with_channels_of
from graphs.spaces.timm_weights import load_timm_weights
