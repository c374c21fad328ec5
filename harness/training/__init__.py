"""How a method learns: the loop around its losses."""
