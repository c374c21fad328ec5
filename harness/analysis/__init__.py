"""What figures say: statistics, comparisons, regressions."""
