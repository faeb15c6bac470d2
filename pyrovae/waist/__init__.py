"""What the log-weights are made of: traces read, particles drawn, discrete sites summed out."""
