"""Servers that others wrote, with our model behind them, each in an environment of its own."""
