"""Folders for other servers: Triton, TensorFlow Serving, KServe and OpenVINO Model Server."""
