"""The Open Inference Protocol over gRPC: its schema, its messages, and their bytes."""
