"""Front end: an exported PyTorch program becomes a small graph of operations."""
