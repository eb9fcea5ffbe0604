"""Vector engine: everything between matrix products, ``vector_lanes`` elements a cycle."""
