"""How the GPUs of a pool are shared: one module for each mode."""
