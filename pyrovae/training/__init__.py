"""What a fit is made of: the loop, what it feeds, guards, resumes, and says of itself."""
