"""Helpers for the tests of all services: a fake clock, certificates, a server in the process."""
