"""Alembic's entry; everything shared lives in the runtime."""

from libs.runtime.migrate import run_env

run_env()
