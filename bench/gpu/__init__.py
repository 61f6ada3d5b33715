"""What alpharay does on one GPU, in steps of minutes: see __main__.py."""
