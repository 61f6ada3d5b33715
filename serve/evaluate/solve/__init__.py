"""`alpharay solve`: one budget of samples over a batch of problems."""
