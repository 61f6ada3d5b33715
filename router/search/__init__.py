"""Finding the members: points of the affine span of some checkpoints, and the schedule over them."""
