"""Almenara."""
