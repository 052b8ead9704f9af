"""Recommenders that the benchmark compares: ours, plain torch, and two frameworks, each in a process of its own."""
