"""Files and folders: whole or not there, one writer at a time, never code."""
