"""A network without this library."""

from constrained_nas.export.formats import ExportedOnnx, export_onnx, export_program, export_python, exported_model, run_onnx
