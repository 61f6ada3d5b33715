"""Rollouts: what `eval` drew and judged, whole, as a data set that models are trained on."""
