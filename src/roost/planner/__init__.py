"""What to do: pure functions of a frozen view."""
