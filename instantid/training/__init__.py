"""Making data for training and testing identity: rendered people whose truth is known."""
