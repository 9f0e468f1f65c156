"""The embedded server: exported models behind the Open Inference Protocol."""
