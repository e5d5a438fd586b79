"""The Open Inference Protocol over gRPC, for a server that was asked for it."""
