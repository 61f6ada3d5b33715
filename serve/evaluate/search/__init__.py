"""`alpharay search`: the members of a frontier, found by measuring points of the span of some checkpoints."""
