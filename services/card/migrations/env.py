"""Alembic's entry: the environment is shared by all services."""

from libs.runtime.migrate import run_env

run_env()
