"""Wire formats: generated protobuf code and its checked conversion."""
