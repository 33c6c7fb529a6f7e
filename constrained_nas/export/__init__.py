"""A network without this library."""

from typing import TYPE_CHECKING

from graphs.faces import on_demand

if TYPE_CHECKING:
    from constrained_nas.export.formats import (
        ExportedOnnx,
        export_onnx,
        export_program,
        export_python,
        exported_model,
        onnx_outputs,
        require_onnx,
        run_onnx,
    )

__getattr__ = on_demand(__name__)
