"""The HTML pages, a module each."""
