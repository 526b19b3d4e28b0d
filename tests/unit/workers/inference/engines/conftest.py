from support.importable_bundle import the_bundle_that_was_importable_before

__all__ = ["the_bundle_that_was_importable_before"]
