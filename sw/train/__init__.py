"""Training of the models that ship with the package, and of a sentence classifier: one module a model."""
