"""Small networks under each objective."""
