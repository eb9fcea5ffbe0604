"""On-chip memories, each behind one wrapper."""
