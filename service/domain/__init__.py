"""Values and rules: jobs, deliveries, routing, reasons. No I/O."""
