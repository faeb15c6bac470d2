"""The modules behind programs, and whose parameters they use."""
