"""Vector engine: softmax, norms, tables, elementwise operations."""
