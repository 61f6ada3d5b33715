"""`alpharay attempt`: the best of n whole runs of a coding agent."""
