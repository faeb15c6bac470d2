"""What estimators of log p(x) are made of: chains, blocks of draws, moments."""
