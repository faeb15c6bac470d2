"""What one run is made of: its configuration, evaluation, pictures and record."""
