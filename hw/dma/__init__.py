"""Load and store engines: address generation, bursts, decompression."""
