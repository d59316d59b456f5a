"""What runs on each host: owns sockets, gateways and replicas."""
