"""One verb a module: reads options, asks the domain, prints, and does what was decided."""
