"""Alembic environment of the terminal gateway (libs/runtime/migrate.py)."""

from libs.runtime.migrate import run_env

run_env()
