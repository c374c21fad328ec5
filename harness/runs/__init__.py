"""How runs are carried out, one or many."""
