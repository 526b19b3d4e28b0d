"""`lobar acceptance`: try a PACS with a synthetic study, and report what it did."""
