"""Runs in the formats of other libraries: ONNX, transformers and sentence-transformers."""
