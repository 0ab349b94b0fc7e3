"""What every service stands on: server, clients, settings, identity, database, claims, events, telemetry.

Deliberately empty of imports: a program pays only for the parts it uses. See README.md beside this file.
"""
