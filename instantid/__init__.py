"""InstantID Studio: one photo of a face becomes any picture of that person."""
