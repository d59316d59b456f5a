"""The Open Inference Protocol over gRPC; loaded only by a gateway that is told to serve it."""
