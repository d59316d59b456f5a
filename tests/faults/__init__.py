"""Slow proofs: everything is killed where it hurts most. `make test-faults` runs them."""
