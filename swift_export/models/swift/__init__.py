"""SwiFT, the 4D Swin transformer for fMRI: architecture, weights, exported forms, input and structural checks."""
