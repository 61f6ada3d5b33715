"""The host's side of the sandbox: which layers this machine offers, and workers that run programs in them."""
