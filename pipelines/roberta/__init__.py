"""RoBERTa and its relatives: checkpoints, tokenizer, and a forward pass without padding.

``checkpoint`` and what it imports know nothing of torch, so that producers can pin a model in a moment.
"""
