"""OpenTelemetry traces: how long each step of an instance took, over all processes."""
