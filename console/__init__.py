"""The `slipway` command: asks flows and stores, decides nothing."""
