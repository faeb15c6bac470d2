"""The default comparison, and what it says of itself while it runs."""
