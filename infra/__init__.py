"""Adapters to what lies outside: registry, ledger, identity, settings, processes."""
