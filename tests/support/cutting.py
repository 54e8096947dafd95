"""Cutting everybody off from a broker or a database, as their restart does."""

import httpx
import psycopg
from support.shared_db import Database
from support.stack_env import needed
from support.vhost import VirtualHost


def close_connections(broker: VirtualHost) -> int:
    """Have the broker drop everybody; return how many it were, as far as it knows already."""
    auth = needed("RABBITMQ_ADMIN"), needed("RABBITMQ_ADMIN_PASSWORD")
    with httpx.Client(
        base_url=f"{needed('RABBITMQ_MANAGEMENT_URL')}/api", auth=auth, timeout=30, trust_env=False
    ) as http:
        connections = http.get(f"/vhosts/{broker.name}/connections").raise_for_status().json()
        for connection in connections:
            http.delete(f"/connections/{connection['name']}")
    return len(connections)


def end_backends(database: Database) -> int:
    """Have PostgreSQL end the sessions of drains; return how many it were."""
    with psycopg.connect(needed("POSTGRES_ADMIN_URL")) as connection:
        return connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s AND application_name LIKE 'clinic drain%%'",
            (database.name,),
        ).rowcount


def cut_off(what: str, broker: VirtualHost, database: Database) -> int:
    """Cut everybody off from the ``broker`` or the ``database``; return how many it were."""
    match what:
        case "broker":
            return close_connections(broker)
        case "database":
            return end_backends(database)
        case _:
            return 0
