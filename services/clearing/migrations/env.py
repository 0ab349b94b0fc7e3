"""Migrations of the clearing database; the environment is the runtime's."""

from libs.runtime.migrate import run_env

run_env()
