"""A few documents of a run once more, by plain transformers: whether the parts hold what the model gives."""
