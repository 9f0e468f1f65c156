"""Integers in place of the float32 weights of ONNX files, and the way back."""
