"""RoBERTa by hand: one model, one sentence at a time, as the original tool set's users know it.

::

    from pipelines.hub import Roberta

    roberta = Roberta.load("FacebookAI/roberta-base")
    roberta.fill_mask("The river <mask> the mill.", topk=3)

For a corpus there is ``penstock run``. docs/by_hand.md has every function, and what differs from the original.
"""

from pipelines.hub.arguments import ArgumentError, TokensError
from pipelines.hub.batches import collate_tokens
from pipelines.hub.heads import ClassificationHead
from pipelines.hub.roberta import Roberta
from pipelines.hub.words import Word

__all__ = ["ArgumentError", "ClassificationHead", "Roberta", "TokensError", "Word", "collate_tokens"]
