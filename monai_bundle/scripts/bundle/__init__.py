"""Read and write the bundle's own files, and load the bundle as shipped."""
