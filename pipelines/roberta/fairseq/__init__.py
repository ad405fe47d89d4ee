"""Checkpoints of the original tool set (fairseq), into transformers' layout and back.

Nothing of a checkpoint is run: its pickle is read as data (``pickled``), its tensors are copied from file to file.
"""
