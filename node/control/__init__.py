"""The operator's surface: gRPC over a unix socket."""
