"""Search for the members: points of the affine span of checkpoints, and the schedule over them."""
