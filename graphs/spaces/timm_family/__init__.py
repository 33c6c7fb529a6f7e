"""Networks of timm's EfficientNet and MobileNet family from their block strings."""

from graphs.spaces.timm_family.networks import timm_network, with_channels_of
from graphs.spaces.timm_family.strings import TimmSettings
