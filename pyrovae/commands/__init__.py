"""What the command line is made of: options from signatures, listings, arguments."""
