"""The call record: lines that gateways write, what is kept beside them, and where both are found."""
