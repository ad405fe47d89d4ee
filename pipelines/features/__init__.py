"""What is read off a forward pass: one file per feature, all of one protocol."""
