"""apwa: a job in plain words over data of any size, planned by one agent, worked by thousands."""
