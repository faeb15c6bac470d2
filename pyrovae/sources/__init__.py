"""What data sets are made of: files, downloads, forms, batches."""
