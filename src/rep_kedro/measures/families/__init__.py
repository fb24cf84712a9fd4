"""One function for each family of measures; its kernel, and torch with it, is imported by the first call."""
