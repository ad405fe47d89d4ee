"""What a document becomes before the encoder sees it: the inputs of each kind of question, windows of long texts."""
