"""What a run is: its specification, and how names and options become one."""
