"""Flows narrate: each reads as prose, and may run again from the top at any moment."""
