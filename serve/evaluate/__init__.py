"""Measures a frontier: samples problems, records outcomes, audits ensembles and replays policies."""
