"""Measuring a frontier: sampling problems, what came of them, what an ensemble gains, how policies would have done."""
