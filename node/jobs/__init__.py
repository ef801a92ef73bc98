"""What to run: job manifests and the runner that drives a workload through rounds."""
