"""How sure a similarity is: permutation tests, bootstrap intervals, consistency, corrections."""
