"""The control plane: who is awake. Gate, view, loop, execution of plans."""
