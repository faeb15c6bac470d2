"""What a fast step is made of: recording, compiling and playing back a function of tensors."""
