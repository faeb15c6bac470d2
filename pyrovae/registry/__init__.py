"""Parts by name, and what their signatures say."""
