"""Pure maths on tensors: torch and numpy only, no files, no labels, no Kedro."""
