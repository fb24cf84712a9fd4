"""The measures of each family, as data."""
