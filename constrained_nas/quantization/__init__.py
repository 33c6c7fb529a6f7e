"""Bit widths for every layer: sensitivities, a choice within budgets, and files that are as small as the bits say."""

from typing import TYPE_CHECKING

from graphs.faces import on_demand

if TYPE_CHECKING:
    from constrained_nas.quantization.attention import ProjectedAttention, with_projections
    from constrained_nas.quantization.fine_tuning import fine_tune_quantized
    from constrained_nas.quantization.images import first_images, fitting_data
    from constrained_nas.quantization.layers import QuantizableLayer, Rounding, find_layers, network_logits, rounded
    from constrained_nas.quantization.packed_file import load_packed, save_packed
    from constrained_nas.quantization.packing import pack, packed_bytes, unpack
    from constrained_nas.quantization.quantizer import activation_grid, quantize_weight
    from constrained_nas.quantization.sensitivity import bits_name, distance, measure_sensitivities
    from constrained_nas.quantization.sources import load_weights_file, read_network
    from constrained_nas.quantization.workflow import (
        QuantizationRecord,
        QuantizationTask,
        agreement,
        choose,
        described,
        front,
        measure_plan,
        others,
        prepare,
        rounded_network,
        sensitivities,
        table_of,
        write_files,
    )

__getattr__ = on_demand(__name__)
