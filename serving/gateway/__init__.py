"""Clients on one side, replicas on the other; routes in between."""
