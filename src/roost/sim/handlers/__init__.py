"""What each path of the simulated engine answers: one module per family, one coroutine per path."""
