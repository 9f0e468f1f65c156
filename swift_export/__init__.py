"""Export SwiFT, the 4D Swin transformer for fMRI, and prove that the exports compute the same."""
