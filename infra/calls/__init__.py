"""The call record: lines that gateways write, what is beside them, and where both are found."""
