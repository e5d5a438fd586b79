"""Files of rows: what people give, brought to the contract's types, and what steps write."""
