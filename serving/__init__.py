"""The serving tier: variants, replicas, gateways, agents."""
