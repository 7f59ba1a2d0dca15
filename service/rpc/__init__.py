"""The gRPC door: the services of circumplex.v1, health and reflection."""
