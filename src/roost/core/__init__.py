"""Words: the values every other room speaks in. Imports nothing of roost, touches nothing of the world."""
