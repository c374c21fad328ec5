"""What training and inference cost, and on what they ran."""
