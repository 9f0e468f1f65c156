"""The proof that every artifact computes what the backbone computes: inputs, tolerances, comparison, reports."""
