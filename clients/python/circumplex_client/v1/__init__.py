"""Generated protobuf modules of the gRPC API."""
