"""What `pyrovae.publishing` is made of: the model card, and programs that need no Pyro."""
