"""What trained networks do: score, predict, export."""
