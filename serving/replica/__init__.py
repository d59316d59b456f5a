"""One process, one variant: verify, load, warm, answer."""
