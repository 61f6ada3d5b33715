"""What runs inside the sandbox: standard library only, started by path, imports nothing else of alpharay."""
