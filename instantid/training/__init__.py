"""Training the papers' adapters, and the embedded bundle; `people` makes data for it."""
