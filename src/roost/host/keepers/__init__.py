"""What load, stop and gone mean for a replica: one module per keeper."""
