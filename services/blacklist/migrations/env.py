"""Alembic environment of the blacklist (libs/runtime/migrate.py)."""

from libs.runtime.migrate import run_env

run_env()
