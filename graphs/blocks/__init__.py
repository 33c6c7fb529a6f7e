"""Plain torch modules that know nothing of graphs or searches."""

from graphs.blocks.elastic import Configuration, ElasticInvertedResidual
from graphs.blocks.inverted_residuals import FusedInvertedResidual, ResidualConvolution, StochasticDepth, with_stochastic_depth
from graphs.blocks.operators import (
    ACTIVATIONS,
    BasicBlockBody,
    ConvNormActivation,
    InvertedResidual,
    PixelClassifier,
    PooledClassifier,
    PooledLinear,
    ResidualSequence,
    SqueezeExcite,
    UpsampledConvolution,
    activation_module,
    copy_leading_channels,
    round_channels,
)
from graphs.blocks.stochastic_layer import LayerOption, LayerShape, Operator, StochasticLayer, plain_block
from graphs.blocks.widths import BlockChoice, count_batch
