"""The annotated radiograph, a Secondary Capture."""
