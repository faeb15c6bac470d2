"""One fit over many processes, started by torchrun."""
