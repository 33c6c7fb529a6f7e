"""A network without this library."""

from constrained_nas.export.formats import export_onnx, export_program, export_python
