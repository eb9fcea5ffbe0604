"""Text files that ship with the package."""
