"""Rendered people: an endless, freely licensed, multi-view data set with exact ground truth."""
