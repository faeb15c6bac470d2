"""Encoders and decoders: plain `torch.nn` modules that know nothing of probability."""
