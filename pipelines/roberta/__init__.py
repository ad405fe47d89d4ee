"""RoBERTa and its relatives: checkpoints, tokenizer, and a forward pass that computes no padding.

``checkpoint`` and what it imports know nothing of torch, so that producers can pin a model in a moment.
"""
