"""Solved against samples: one budget over a batch beside uniform sampling and beside a budget for each request."""
