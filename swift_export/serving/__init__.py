"""Serving of exported models: the embedded server of the Open Inference Protocol, and layouts for other servers."""
