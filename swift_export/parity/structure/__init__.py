"""What the graphs of artifacts say, beside what the model says."""
